"""From rows and the facts of their files to cases of a manifest: what is wrong, and what is only odd."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from revoxel.core.geometry import (
    SAME_GRID_TOLERANCE_VOXELS,
    Grid,
    check_same_grid,
    isotropic_grid,
    whole_voxel_shift,
)
from revoxel.core.manifest import Case, ProfileRecord
from revoxel.core.pulses import Spacing
from revoxel.experts.axis_check import MAX_LOG_RATIO
from revoxel.experts.profiles import SliceProfile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from revoxel.experts.names import Expert
    from revoxel.sagnef.study.inspection import VolumeFacts
    from revoxel.sagnef.study.rows import Row

_SAME_WIDTH = 1e-3
_SHIFT_VOXELS = 0.5
_PARALLEL = 0.999


@dataclass(frozen=True)
class Checked:
    """A row after its files were read.

    Args:
        row: The row, its problems included.
        case: What goes into the manifest; `None` if the row cannot be used.
        warnings: What a user should look at, as `role: reason`.
    """

    row: Row
    case: Case | None
    warnings: tuple[str, ...] = ()


def check_row(row: Row, facts: Mapping[Path, VolumeFacts], *, exclude_interpolated: bool = False) -> Checked:
    """Judge one row.

    Args:
        row: Its files.
        facts: What they hold.
        exclude_interpolated: Refuse a truth that looks interpolated along the slice axis, not only warn.

    Returns:
        The case, or the problems.
    """
    problems = [*row.problems, *_unreadable(row, facts)]
    if problems or row.lr is None:
        return Checked(replace(row, problems=tuple(problems)), None)
    low = facts[row.lr]
    experts = {expert: facts[path] for expert, path in row.experts.items()}
    truth = None if row.hr is None else facts[row.hr]
    problems += [*_spacing_problems(row, low), *_grid_problems(low, truth, experts)]
    problems += _origin_problems(low, experts)
    interpolated = list(_interpolated(low, truth))
    if exclude_interpolated:
        problems += interpolated
    row = replace(row, problems=tuple(problems))
    if problems:
        return Checked(row, None)
    notes = (f"lr: {note}" for note in low.notes)
    warnings = (*interpolated, *_smooth_across(low, truth), *notes, *_field_of_view(low, experts))
    return Checked(row, _case(row, low, experts, facts), warnings)


def _unreadable(row: Row, facts: Mapping[Path, VolumeFacts]) -> Iterator[str]:
    for role, path in _files(row).items():
        if facts[path].problem:
            yield f"{role}: {facts[path].problem}"


def _files(row: Row) -> dict[str, Path]:
    files = {"lr": row.lr, "hr": row.hr} | {expert.value: path for expert, path in row.experts.items()}
    return {role: path for role, path in files.items() if path is not None}


def _separation_mm(low: VolumeFacts) -> float:
    return _grid(low).spacing_mm[_axis(low)]


def _grid(facts: VolumeFacts) -> Grid:
    if facts.grid is None:  # pragma: no cover - unreadable files were sorted out before
        raise RuntimeError(facts.path)
    return facts.grid


def _axis(low: VolumeFacts) -> int:
    if low.axis is None:  # pragma: no cover - every readable scan has one
        raise RuntimeError(low.path)
    return low.axis


def _spacing_problems(row: Row, low: VolumeFacts) -> Iterator[str]:
    try:
        measured = Spacing.from_separation(_separation_mm(low))
    except ValueError as error:
        yield f"lr: {str(error).partition(';')[0]}"
        return
    if row.spacing not in {None, measured}:
        yield (
            f"lr: named as {row.spacing} but its slices lie {_separation_mm(low):.3g} mm apart; "
            "correct name or header"
        )


def _grid_problems(
    low: VolumeFacts, truth: VolumeFacts | None, experts: Mapping[Expert, VolumeFacts]
) -> Iterator[str]:
    grids = {expert.value: _grid(facts) for expert, facts in experts.items()}
    try:
        check_same_grid(grids or {"lr": _grid(low)})
    except ValueError as error:
        yield f"experts: {error}"
    goal = next(iter(grids.values()), None) or _future_grid(low, truth)
    if not _parallel(_grid(low), goal):
        yield "experts: must have the axes of the scan in its order, got others; reorient them alike"
    if truth is None:
        return
    shift, offset = whole_voxel_shift(_grid(truth), goal)
    if offset > SAME_GRID_TOLERANCE_VOXELS:
        yield (
            f"hr: must share its voxels with the experts (within {SAME_GRID_TOLERANCE_VOXELS:g}), got "
            f"{'other axes or sizes' if offset > 1 else f'an offset of {offset:.2g} voxels'}; "
            "resample it onto their grid"
        )
    elif not _overlap(shift, _grid(truth).shape, goal.shape):
        yield "hr: must overlap the scan, got another place; correct one header"


def _future_grid(low: VolumeFacts, truth: VolumeFacts | None) -> Grid:
    """Where the experts will put their volumes."""
    axis = _axis(low)
    voxel_mm = 1.0 if truth is None else _grid(truth).spacing_mm[axis]
    return isotropic_grid(_grid(low), axis, voxel_mm)


def _parallel(a: Grid, b: Grid) -> bool:
    directions = [grid.affine[:3, :3] / np.array(grid.spacing_mm) for grid in (a, b)]
    return bool(np.einsum("ij,ij->j", *directions).min() > _PARALLEL)


def _overlap(shift: Iterable[int], n_truth: Iterable[int], n_goal: Iterable[int]) -> bool:
    return all(
        max(first, 0) < min(first + goal, truth)
        for first, truth, goal in zip(shift, n_truth, n_goal, strict=True)
    )


def _field_of_view(low: VolumeFacts, experts: Mapping[Expert, VolumeFacts]) -> Iterator[str]:
    """A scan whose header was left at the fine grid's origin moves every expert differently."""
    if not experts:
        return
    axis, goal = _axis(low), _grid(next(iter(experts.values())))
    direction = goal.affine[:3, axis] / goal.spacing_mm[axis]
    edges = [grid.world(_edge(axis)) @ direction for grid in (_grid(low), goal)]
    shift_mm = float(edges[1] - edges[0])
    if abs(shift_mm) > _SHIFT_VOXELS * goal.spacing_mm[axis]:
        yield f"experts: begin {shift_mm:+.2f} mm from the scan's first edge; check the origin in its header"


def _edge(axis: int) -> list[float]:
    return [-0.5 if other == axis else 0.0 for other in range(3)]


def _interpolated(low: VolumeFacts, truth: VolumeFacts | None) -> Iterator[str]:
    ratio = _log_ratio(low, truth)
    if ratio < -MAX_LOG_RATIO:
        yield (
            f"hr: smoother along the slice axis than across it (log ratio {ratio:.2f}): probably "
            "interpolated, a reference that rewards blur"
        )


def _smooth_across(low: VolumeFacts, truth: VolumeFacts | None) -> Iterator[str]:
    ratio = _log_ratio(low, truth)
    if ratio > MAX_LOG_RATIO:
        yield f"hr: smoother across the slice axis than along it (log ratio {ratio:.2f})"


def _log_ratio(low: VolumeFacts, truth: VolumeFacts | None) -> float:
    return 0.0 if truth is None or truth.log_ratio is None else truth.log_ratio[_axis(low)]


def _origin_problems(low: VolumeFacts, experts: Mapping[Expert, VolumeFacts]) -> Iterator[str]:
    """Expert volumes of our own carry a record of what they were made from."""
    for expert, facts in experts.items():
        source = facts.record.get("input_sha256")
        if source and source != low.sha256:
            yield f"{expert}: was made from another scan than this one; make it again"
    told = {str(facts.record["profile"]) for facts in experts.values() if "profile" in facts.record}
    if len(told) > 1:
        yield f"experts: must have been told one slice profile, got {sorted(told)}; make them again"


def _case(
    row: Row, low: VolumeFacts, experts: Mapping[Expert, VolumeFacts], facts: Mapping[Path, VolumeFacts]
) -> Case:
    separation_mm = _separation_mm(low)
    files = {"lr": row.lr, "hr": row.hr} | {f"experts.{e.value}": path for e, path in row.experts.items()}
    return Case(
        subject=row.subject,
        patient=row.fields["patient"],
        timepoint=row.fields["timepoint"],
        pulse=row.fields["pulse"],  # type: ignore[arg-type]
        spacing=Spacing.from_separation(separation_mm),
        separation_mm=round(separation_mm, 6),
        axis=_axis(low),
        profile=_told(low, experts),
        condition=row.condition,
        hr=row.hr,
        lr=row.lr,  # type: ignore[arg-type]
        experts={expert.value: path for expert, path in row.experts.items()},
        sha256={name: facts[path].sha256 for name, path in files.items() if path is not None},
    )


def _told(low: VolumeFacts, experts: Mapping[Expert, VolumeFacts]) -> ProfileRecord:
    """The scan's profile, with what the experts were told where their records state it."""
    record = low.profile
    if record is None:  # pragma: no cover - every readable scan has one
        raise RuntimeError(low.path)
    told = [facts.record for facts in experts.values() if "profile_std_mm" in facts.record]
    if not told:
        return record
    assumed_std_mm = float(told[0]["profile_std_mm"])
    known = record.std_mm if record.assumed_std_mm is None else record.assumed_std_mm
    if abs(assumed_std_mm / known - 1) < _SAME_WIDTH:
        return record
    return record.model_copy(update={"label": str(told[0]["profile"]), "assumed_std_mm": assumed_std_mm})


def profile_for_experts(case: Case) -> SliceProfile:
    """The profile that a case's experts are told.

    Args:
        case: Row of a manifest.

    Returns:
        The profile of its label, at the assumed width where the label says another; a Gaussian for `auto`.

    Raises:
        ValueError: If the label is no profile.
        FileNotFoundError: If the label names a file that does not exist.
    """
    record = case.profile
    std_mm = record.std_mm if record.assumed_std_mm is None else record.assumed_std_mm
    shape = SliceProfile.gauss(1.0) if record.label == "auto" else SliceProfile.parse(record.label)
    return shape if abs(shape.std_mm / std_mm - 1) < _SAME_WIDTH else shape.with_std(std_mm)
