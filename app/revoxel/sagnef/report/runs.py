"""Find what a folder holds: fusions with their records and truths, and an evaluation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from revoxel.core.manifest import load_manifest
from revoxel.core.reasons import one_line
from revoxel.sagnef.comparison.outputs import STEM as EVALUATION
from revoxel.sagnef.report.records import (
    COHORT_FILE,
    DONE,
    FUSING_VERBS,
    RECORD_PATTERN,
    CohortRecord,
    FusionRecord,
)
from revoxel.sagnef.report.truths import Truths

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One fusion.

    Args:
        name: What a reader calls it: subject, spacing and pulse.
        patient: Whose it is; the name if no manifest tells.
        path: Its record.
        record: Content of that.
        truth: Its high-resolution volume, if a manifest names one.
    """

    name: str
    patient: str
    path: Path
    record: FusionRecord
    truth: Path | None = None


@dataclass(frozen=True)
class RunFolder:
    """What lies in a folder.

    Args:
        root: The folder.
        runs: What can be shown.
        failures: What cannot: reason by name.
        evaluation: `evaluation.json` of `revoxel evaluate`, if it is there.
    """

    root: Path
    runs: tuple[Run, ...]
    failures: dict[str, str] = field(default_factory=dict)
    evaluation: Path | None = None


def find_runs(root: Path, manifest: Path | None = None) -> RunFolder:
    """Look for records below a folder.

    Args:
        root: Output folder of `superresolve`, `predict`, `cohort run` or `evaluate`.
        manifest: Names the truths; by default the manifest of the cohort.

    Returns:
        Every run, and what could not be read.

    Raises:
        FileNotFoundError: If the folder or the given manifest is absent.
        ValueError: If `cohort.json` or the given manifest is damaged, or nothing is there to report on.
    """
    if not root.is_dir():
        msg = f"{root} must be an existing folder of results; give the -o of superresolve or cohort run."
        raise FileNotFoundError(msg)
    listed = CohortRecord.read(root / COHORT_FILE) if (root / COHORT_FILE).is_file() else None
    failures: dict[str, str] = {}
    truths = _truths(root, manifest, listed, failures)
    runs = []
    for name, path in (_listed(root, listed, failures) if listed else _found(root)).items():
        try:
            runs.append(_run(name, path, truths))
        except (ValueError, OSError) as error:
            failures[name] = one_line(error)
    evaluation = root / f"{EVALUATION}.json"
    if not (runs or failures or evaluation.is_file()):
        msg = f"{root} must hold {RECORD_PATTERN} or {evaluation.name}, got neither; check the folder."
        raise ValueError(msg)
    return RunFolder(root, tuple(runs), failures, evaluation if evaluation.is_file() else None)


def _truths(root: Path, given: Path | None, listed: CohortRecord | None, failures: dict[str, str]) -> Truths:
    """Truths of the manifest; the one that a cohort names may have gone since, one that is given may not."""
    if given is not None:
        return Truths(load_manifest(given))
    if listed is None or listed.manifest is None:
        return Truths()
    try:
        return Truths(load_manifest(root / listed.manifest))
    except (ValueError, OSError) as error:
        failures["manifest of the cohort"] = one_line(error)
        return Truths()


def _found(root: Path) -> dict[str, Path]:
    """Records below a folder by the name of the scan; by their place where two scans have one name."""
    paths = [path for path in sorted(root.rglob(RECORD_PATTERN)) if not _is_hidden(path.relative_to(root))]
    stems = Counter(path.name for path in paths)
    named = {path: path.name if stems[path.name] == 1 else str(path.relative_to(root)) for path in paths}
    return {name.removesuffix(RECORD_PATTERN[1:]): path for path, name in named.items()}


def _is_hidden(path: Path) -> bool:
    """Unfinished results lie in hidden folders."""
    return any(part.startswith(".") for part in path.parts)


def _listed(root: Path, listed: CohortRecord, failures: dict[str, str]) -> dict[str, Path]:
    """Records of a cohort by task; a task that should have one and has none is a failure."""
    paths = {}
    for task in listed.tasks:
        found = [root / task.record] if task.record else sorted((root / task.folder).glob(RECORD_PATTERN))
        if task.state != DONE:
            failures[task.name] = ": ".join(part for part in (task.state, task.reason) if part)
        elif len(found) == 1 and found[0].is_file():
            paths[task.name] = found[0]
        elif listed.verb in FUSING_VERBS:
            failures[task.name] = f"{task.state}: no record in {task.folder}"
    return paths


def _run(name: str, path: Path, truths: Truths) -> Run:
    record = FusionRecord.read(path)
    case = truths.case_of(record)
    return Run(name, case.patient if case else name, path, record, truths.truth_of(case))
