"""Score all planned cases: finished ones are kept, a failing one is listed and the rest go on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel import __version__
from revoxel.core.provenance import sha256_of
from revoxel.core.reasons import one_line
from revoxel.core.volumes import atomic_path
from revoxel.sagnef.comparison.case import score_case
from revoxel.sagnef.comparison.fold_weights import FoldWeights, case_statistics, fit_fold
from revoxel.sagnef.comparison.plan import EvaluationPlan, Group, file_name
from revoxel.sagnef.comparison.results import CaseResult
from revoxel.sagnef.comparison.rows import Contest
from revoxel.sagnef.comparison.volumes import expert_order, read_case, read_tumour
from revoxel.sagnef.tiles import TileStatistics

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.core.manifest import Case

logger = logging.getLogger(__name__)
Progress = Callable[[str, float], None]

# Raise when rows change their meaning: what was scored before is then scored again.
_ROWS_VERSION = 2
_EXPECTED = (OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Evaluation:
    """All results.

    Args:
        results: One per case that could be scored, in the order of the plan.
        failures: Why a case could not be scored, by its name.
        n_kept: Results that were there before.
        weights: Fitted on each group's training patients, by the name of the group.
    """

    results: tuple[CaseResult, ...]
    failures: dict[str, str]
    n_kept: int
    weights: dict[str, dict[str, Any]]


class _Tally:
    """How far the work is."""

    def __init__(self, plan: EvaluationPlan, progress: Progress | None) -> None:
        self.progress = progress
        training = {id(case) for group in plan.groups for case in (*group.trusted, *group.misled)}
        self.totals = {"training rows": max(1, len(training)), "cases": max(1, plan.n_cases)}
        self.done = dict.fromkeys(self.totals, 0)

    def step(self, stage: str) -> None:
        self.done[stage] += 1
        if self.progress:
            self.progress(stage, min(1.0, self.done[stage] / self.totals[stage]))


def run_evaluation(plan: EvaluationPlan, progress: Progress | None = None) -> Evaluation:
    """Score what was planned.

    Args:
        plan: From `plan_evaluation`.
        progress: Called with the name of a stage and its share done.

    Returns:
        Results and failures.

    Raises:
        OSError: If results cannot be written.
    """
    work = _Work(plan, _Tally(plan, progress))
    for group in plan.groups:
        work.run_group(group)
    return Evaluation(tuple(work.results), work.failures, work.n_kept, work.weights)


class _Work:
    """The state of a run: what was scored, and sums of training rows that several groups use."""

    def __init__(self, plan: EvaluationPlan, tally: _Tally) -> None:
        self.plan = plan
        self.tally = tally
        self.results: list[CaseResult] = []
        self.failures: dict[str, str] = {}
        self.weights: dict[str, dict[str, Any]] = {}
        self.n_kept = 0
        self.fingerprint = cache(lambda row: fingerprint(plan, plan.manifest.cases[row]))
        self.statistics = cache(self._statistics)
        plan.request.out.mkdir(parents=True, exist_ok=True)

    def run_group(self, group: Group) -> None:
        """Fit the group's weights and score its cases."""
        try:
            weights, identity = self._weights(group)
        except _EXPECTED as error:
            logger.info("%s: %s", group.name, error)
            self.failures.update({f"{group.name}: {case.subject}": one_line(error) for case in group.cases})
            return
        self.weights[group.name] = {**weights.record(), "inputs_sha256": identity}
        for case in group.cases:
            self._run_case(group, case, weights, identity)
            self.tally.step("cases")

    def _weights(self, group: Group) -> tuple[FoldWeights, str]:
        rows = [[self._row(case) for case in cases] for cases in (group.trusted, group.misled)]
        found = [{row: self.statistics(row) for row in part} for part in rows]
        sums = [[one for one in part.values() if one is not None] for part in found]
        order = expert_order(self.plan.manifest.experts)
        used = [sorted(self.fingerprint(row) for row in part if part[row] is not None) for part in found]
        return fit_fold(order, *sums), digest(used)

    def _run_case(self, group: Group, case: Case, weights: FoldWeights, weights_sha256: str) -> None:
        path = self.plan.result_path(group, case)
        try:
            identity = digest([self._identity(group, case), weights_sha256])
            known = None if self.plan.request.overwrite else CaseResult.load(path)
            if known is not None and known.inputs_sha256 == identity:
                self.n_kept += 1
                self.results.append(known)
                return
            result = _scored(self.plan, group, case, weights, identity)
        except _EXPECTED as error:
            logger.info("%s: %s", case.subject, error)
            self.failures[f"{group.name}: {case.subject}"] = one_line(error)
            return
        result.save(path)
        self.results.append(result)

    def _identity(self, group: Group, case: Case) -> dict[str, Any]:
        gates = [gate and sha256_of(gate.path) for gate in (group.gate, self.plan.control)]
        labels = self.plan.labels_path(case)
        return {
            "case": self.fingerprint(self._row(case)),
            "fold": group.fold.name,
            "seen": case.patient in group.seen,
            "gates": gates,
            "labels": labels and sha256_of(labels),
            "settings": asdict(self.plan.request.settings),
            "rows": _ROWS_VERSION,
        }

    def _row(self, case: Case) -> int:
        return self.plan.manifest.cases.index(case)

    def _statistics(self, row: int) -> TileStatistics | None:
        """Sums of a training row; None, and a failure to list, if it cannot be read."""
        self.tally.step("training rows")
        case = self.plan.manifest.cases[row]
        try:
            return self.kept_statistics(row, case)
        except _EXPECTED as error:
            logger.info("training row %s: %s", case.subject, error)
            self.failures[f"training row {case.subject}, left out of the fit"] = one_line(error)
            return None

    def kept_statistics(self, row: int, case: Case) -> TileStatistics:
        """Sums of a training row, from disk where they are of the same files."""
        name = file_name(f"{case.subject}-{case.pulse}-{case.spacing}-{row}")
        path = self.plan.request.out / "training" / f"{name}.npz"
        statistics = _load_statistics(path, self.fingerprint(row))
        if statistics is None:
            statistics = case_statistics(read_case(self.plan.manifest, case))
            _save_statistics(path, statistics, self.fingerprint(row))
        return statistics


def keep_statistics(plan: EvaluationPlan, row: int) -> None:
    """Sum up a training row for the fits of its group, unless that was done.

    Args:
        plan: From `plan_evaluation`.
        row: Number of the row in the manifest.

    Raises:
        ValueError: If a volume cannot be used.
        OSError: If a file cannot be read or written.
    """
    _Work(plan, _Tally(plan, None)).kept_statistics(row, plan.manifest.cases[row])


def _scored(
    plan: EvaluationPlan, group: Group, case: Case, weights: FoldWeights, identity: str
) -> CaseResult:
    volumes = read_case(plan.manifest, case)
    labels = plan.labels_path(case)
    contest = Contest(volumes, weights, group.gate, plan.control, plan.request.settings)
    facts = score_case(contest, read_tumour(labels, volumes) if labels else None)
    return CaseResult(
        inputs_sha256=identity,
        subject=case.subject,
        patient=case.patient,
        pulse=case.pulse,
        spacing=case.spacing,
        axis=case.axis,
        condition=case.condition,
        fold=group.fold.name,
        seen=case.patient in group.seen,
        **facts,
    )


def fingerprint(plan: EvaluationPlan, case: Case) -> str:
    """Fingerprint of a row of the manifest and of the content of its files.

    Args:
        plan: Where the files are.
        case: The row.

    Raises:
        OSError: If a file is absent.
    """
    paths: dict[str, Path | None] = {"lr": case.lr, "hr": case.hr, **case.experts}
    files = {name: sha256_of(plan.manifest.resolve(path)) for name, path in paths.items() if path}
    return digest({"row": case.model_dump(mode="json", exclude={"sha256"}), "files": files})


def digest(content: object) -> str:
    """Fingerprint of plain values and of the package version."""
    text = json.dumps([content, __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _load_statistics(path: Path, identity: str) -> TileStatistics | None:
    try:
        with np.load(path, allow_pickle=False) as content:
            if str(content["identity"]) == identity:
                return TileStatistics(content["moments"], content["n_voxels"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return None


def _save_statistics(path: Path, statistics: TileStatistics, identity: str) -> None:
    with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, moments=statistics.moments, n_voxels=statistics.n_voxels, identity=np.array(identity)
        )
