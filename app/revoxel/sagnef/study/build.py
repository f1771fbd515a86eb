"""From a folder to a manifest and a table of its volumes, with everything that is missing or wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.core.folds import automatic_folds
from revoxel.core.manifest import Case, Manifest, save_manifest
from revoxel.core.paths import absolute
from revoxel.sagnef.study.checks import Checked, check_row
from revoxel.sagnef.study.inspection import Inspection, Role, VolumeFacts, inspect_all
from revoxel.sagnef.study.paths import below
from revoxel.sagnef.study.table import lines_of, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from revoxel.experts.names import Expert
    from revoxel.experts.profiles import SliceProfile
    from revoxel.sagnef.study.rows import Row, Wanted


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """How rows are judged and split.

    Args:
        profile: Stated slice profile of all scans; `None` takes what sidecars say, or an estimate.
        trust_sidecar: Whether the record of a simulation counts as knowing the profile.
        exclude_interpolated: Leave out rows whose truth fails the entry test.
        n_folds: Patient-wise folds, 0 for none.
        seed: Seed of the folds.
        n_workers: Volumes that are read at a time.
    """

    profile: SliceProfile | None = None
    trust_sidecar: bool = True
    exclude_interpolated: bool = False
    n_folds: int = 5
    seed: int = 0
    n_workers: int = 1


@dataclass(frozen=True)
class Study:
    """A study whose volumes were read.

    Args:
        rows: Judged rows.
        facts: What each file holds.
        manifest: Of the rows that can be used.
    """

    rows: list[Checked]
    facts: Mapping[Path, VolumeFacts]
    manifest: Manifest

    @property
    def n_left_out(self) -> int:
        """Rows that cannot be used."""
        return sum(checked.case is None for checked in self.rows)

    @property
    def n_missing_experts(self) -> int:
        """Expert volumes that the manifest's rows lack."""
        return sum(len(self.manifest.experts) - len(case.experts) for case in self.manifest.cases)

    def problems(self) -> list[str]:
        """Why rows were left out, one line per reason."""
        return [f"{row.row.name}: {problem}" for row in self.rows for problem in row.row.problems]

    def warnings(self) -> list[str]:
        """What to look at in rows that are used, one line per warning."""
        return [f"{row.row.name}: {warning}" for row in self.rows for warning in row.warnings]


def build_study(
    rows: Sequence[Row],
    wanted: Wanted,
    settings: StudySettings,
    progress: Callable[[float], None] | None = None,
) -> Study:
    """Read every volume once, judge the rows and draw the folds.

    Args:
        rows: From `find_rows`.
        wanted: What the manifest is about; a scan whose path does not state its spacing is judged by this.
        settings: How to judge and split.
        progress: Called with the share of the volumes read.

    Returns:
        The study; paths in its manifest are as in `rows`.

    Raises:
        ValueError: If no row can be used, or there are too few patients for the folds.
    """
    facts = inspect_all(_tasks(rows, settings), settings.n_workers, progress)
    checked = [check_row(row, facts, exclude_interpolated=settings.exclude_interpolated) for row in rows]
    if wanted.spacings:
        checked = [row for row in checked if row.case is None or row.case.spacing in wanted.spacings]
    cases = [row.case for row in checked if row.case is not None]
    if not cases:
        lines = [f"{row.row.name}: {row.row.problems[0]}" for row in checked if row.row.problems]
        msg = f"a study must have rows that can be used, got none of {len(rows)}: {'; '.join(lines[:2])}."
        raise ValueError(msg)
    return Study(checked, facts, _manifest(cases, wanted.experts, settings))


def _manifest(cases: list[Case], experts: Sequence[Expert], settings: StudySettings) -> Manifest:
    patients = sorted({case.patient for case in cases})
    folds = automatic_folds(patients, settings.n_folds, seed=settings.seed) if settings.n_folds else []
    names = [expert.value for expert in experts]
    return Manifest(seed=settings.seed, experts=names, cases=cases, folds=folds)


def _tasks(rows: Sequence[Row], settings: StudySettings) -> list[Inspection]:
    tasks: dict[Path, Inspection] = {}
    for row in rows:
        for path, role in _roles(row):
            if role is Role.LR:
                tasks[path] = Inspection(path, role, settings.profile, settings.trust_sidecar)
            else:
                tasks.setdefault(path, Inspection(path, role))
    return list(tasks.values())


def _roles(row: Row) -> Iterator[tuple[Path, Role]]:
    if row.lr is not None:
        yield row.lr, Role.LR
    if row.hr is not None:
        yield row.hr, Role.HR
    for path in row.experts.values():
        yield path, Role.EXPERT


def empty_splits(manifest: Manifest) -> list[str]:
    """Where a fold has no row of some spacing and pulse to train, validate or test on.

    Args:
        manifest: With folds.

    Returns:
        Lines such as `5mm t2f: no rows in fold2 (val)`.
    """
    kinds = sorted({(case.spacing, case.pulse) for case in manifest.cases})
    empty = {kind: _empty_in(manifest, *kind) for kind in kinds}
    return [
        f"{spacing} {pulse}: no rows in {', '.join(folds)}"
        for (spacing, pulse), folds in empty.items()
        if folds
    ]


def _empty_in(manifest: Manifest, spacing: str, pulse: str) -> list[str]:
    found = []
    for fold in manifest.folds:
        splits = {"train": fold.train, "val": fold.val, "test": fold.test}
        empty = [name for name, who in splits.items() if not manifest.select(who, spacing, [pulse])]
        found += [f"{fold.name} ({', '.join(empty)})"] if empty else []
    return found


def write_study(study: Study, root: Path, path: Path) -> Path:
    """Write the manifest, and beside it one line per volume as CSV.

    Args:
        study: What to write.
        root: Folder of the study; files below it are written relative to it.
        path: The manifest; what exists is replaced.

    Returns:
        The CSV file.

    Raises:
        OSError: If a file cannot be written.
    """
    root, folder = absolute(root), absolute(path.parent)
    near = root.is_relative_to(folder) or folder.is_relative_to(root)
    cases = [_relative(case, root) for case in study.manifest.cases]
    start = Path(os.path.relpath(root, folder)) if near else root
    table = path.with_suffix(".csv")
    write_table(lines_of(study.rows, study.facts, study.manifest.experts, root), table)
    save_manifest(study.manifest.model_copy(update={"cases": cases, "root": start}), path)
    return table


def _relative(case: Case, root: Path) -> Case:
    files = {"lr": below(case.lr, root), "hr": None if case.hr is None else below(case.hr, root)}
    experts = {name: below(path, root) for name, path in case.experts.items()}
    return case.model_copy(update={**files, "experts": experts})
