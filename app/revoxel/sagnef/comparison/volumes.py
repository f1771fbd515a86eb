"""The volumes of one case: read once, checked, and cut to what can be compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from revoxel.core.geometry import SAME_GRID_TOLERANCE_VOXELS, check_same_grid, resample, whole_voxel_shift
from revoxel.core.volumes import read_volume
from revoxel.experts.names import Expert
from revoxel.sagnef.regions import margin_voxels
from revoxel.sagnef.stack import MAX_TOLERANCE_VOXELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.core.manifest import Case, Manifest
    from revoxel.core.volumes import Volume

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class CaseVolumes:
    """Volumes of one case.

    Args:
        case: Its row.
        paths: File of every expert.
        experts: Whole volumes on `grid`, in enum order.
        grid: Grid of the experts.
        truth: `(i, j, k)`, on the part of `grid` where it is known.
        known: That part.
        low: The thick-slice scan.
        notes: What was repaired on the way.
    """

    case: Case
    paths: Mapping[Expert, Path]
    experts: Mapping[Expert, NDArray[np.float32]]
    grid: Grid
    truth: NDArray[np.float32]
    known: tuple[slice, ...]
    low: Volume
    notes: tuple[str, ...] = ()

    @property
    def margin(self) -> int:
        """How far the brain is grown, in voxels."""
        return margin_voxels(self.case.separation_mm, self.grid.spacing_mm[self.case.axis])

    def cut(self, volume: NDArray[Scalar]) -> NDArray[Scalar]:
        """Part of a volume on `grid`, or of a stack of them, where the truth is known."""
        known: tuple[Any, ...] = (..., *self.known)
        return volume[known]

    def cut_experts(self) -> dict[Expert, NDArray[np.float32]]:
        """Experts, where the truth is known."""
        return {expert: self.cut(volume) for expert, volume in self.experts.items()}


def expert_order(names: Sequence[str]) -> tuple[Expert, ...]:
    """Experts in channel order.

    Args:
        names: Experts of a manifest.

    Raises:
        ValueError: If one is unknown.
    """
    unknown = sorted(set(names) - set(Expert))
    if unknown or not names:
        msg = f"experts of the manifest must be some of {', '.join(Expert)}, got {list(names)}; correct it."
        raise ValueError(msg)
    return tuple(expert for expert in Expert if expert in names)


def read_case(manifest: Manifest, case: Case) -> CaseVolumes:
    """Read one case.

    Args:
        manifest: Where its files are.
        case: Its row.

    Raises:
        FileNotFoundError: If a file is absent.
        ValueError: If a file is unreadable, or the volumes do not lie on one grid.
    """
    missing = manifest.missing_files([case])
    if missing:
        msg = f"{'; '.join(missing)}; make the files (revoxel experts) or correct the manifest."
        raise FileNotFoundError(msg)
    paths = {expert: manifest.resolve(case.experts[expert]) for expert in expert_order(manifest.experts)}
    experts = {expert: read_volume(path) for expert, path in paths.items()}
    check_same_grid({str(paths[expert]): volume.grid for expert, volume in experts.items()})
    grid = next(iter(experts.values())).grid
    truth, known, notes = truth_on_grid(read_volume(manifest.resolve(case.hr or case.lr)), grid)
    data = {expert: volume.data for expert, volume in experts.items()}
    low = read_volume(manifest.resolve(case.lr))
    return CaseVolumes(case, paths, data, grid, truth, known, low, notes)


def read_tumour(path: Path, volumes: CaseVolumes) -> NDArray[np.bool_]:
    """Where a label map marks a tumour.

    Args:
        path: Label map on any grid of the same world; 0 = none.
        volumes: Whose truth it is for.

    Returns:
        `(i, j, k)` on the grid of the truth.
    """
    labels = read_volume(path)
    marked = (labels.data > 0).astype(np.float32)
    return volumes.cut(resample(marked, labels.grid, volumes.grid, order=1, fill=0) > 0.5)


def truth_on_grid(
    truth: Volume, grid: Grid
) -> tuple[NDArray[np.float32], tuple[slice, ...], tuple[str, ...]]:
    """The truth on the voxels of the experts.

    Args:
        truth: The truth on its own grid.
        grid: Grid of the experts.

    Returns:
        The truth where both overlap, that part of the experts' grid, and what had to be done.

    Raises:
        ValueError: If they lie too far apart or do not overlap.
    """
    _, offset = whole_voxel_shift(truth.grid, grid)
    if offset > MAX_TOLERANCE_VOXELS:
        msg = (
            f"{truth.path} must lie within {MAX_TOLERANCE_VOXELS:g} voxels of the experts' grid, got "
            f"{offset:.3g}; it belongs to another scan or its header is wrong: correct the manifest."
        )
        raise ValueError(msg)
    to_truth = np.linalg.solve(truth.grid.affine, grid.affine)
    known = tuple(
        _overlap(to_truth[axis, axis], to_truth[axis, 3], truth.grid.shape[axis], grid.shape[axis])
        for axis in range(3)
    )
    if any(part.stop <= part.start for part in known):
        msg = f"{truth.path} must overlap the experts' volumes, got none; correct the manifest."
        raise ValueError(msg)
    if offset <= SAME_GRID_TOLERANCE_VOXELS:
        shift = [round(to_truth[axis, 3]) for axis in range(3)]
        same = tuple(slice(p.start + by, p.stop + by) for p, by in zip(known, shift, strict=True))
        return np.ascontiguousarray(truth.data[same]), known, ()
    moved = resample(truth.data, truth.grid, grid, antialias=False)[known]
    note = f"the truth lay up to {offset:.2f} voxels off the experts' grid: a copy was resampled onto it"
    return np.ascontiguousarray(moved), known, (note,)


def _overlap(step: float, start: float, n_truth: int, n_grid: int) -> slice:
    """Voxels of the experts' grid along one axis whose centres lie within the truth's field of view."""
    places = start + step * np.arange(n_grid)
    inside = np.flatnonzero((places > -0.5) & (places < n_truth - 0.5))
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)
