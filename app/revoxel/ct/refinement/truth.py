"""A fine CT of the same patient beside a refined one: scores and the frequencies that are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.geometry import resample
from revoxel.core.meta_images import grid_of
from revoxel.ct.evaluation.ring_correlation import local_ring_correlation
from revoxel.ct.evaluation.scores import LOW_PASS_FACTOR, factor_between, score_ct, whole_blocks
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.scans.transforms import FOV, LoadCTd

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid

_TRUTH = "truth"


@dataclass(frozen=True, eq=False)
class Truth:
    """What the refined volume should be.

    Args:
        hu: `(x, y, z)` in HU on the refined grid.
        fov: `(x, y, z)`, blocks of which the scanner measured every voxel.
    """

    hu: NDArray[np.float32]
    fov: NDArray[np.bool_]


def read_truth(path: Path, grid: Grid, factor: int) -> Truth:
    """Read a fine CT and bring it onto a grid.

    Args:
        path: File or DICOM folder.
        grid: Of the refined volume.
        factor: Its voxels along a coarse one.

    Returns:
        The truth.

    Raises:
        ValueError: If it is no CT, or does not cover any of the grid.
    """
    item: Any = LoadCTd(_TRUTH)({_TRUTH: path})
    source = grid_of(item[_TRUTH])
    inside = np.asarray(item[FOV][0], dtype=np.float32)
    fov = resample(inside, source, grid, order=1, fill=0.0, antialias=False) > 0.5
    whole = whole_blocks(fov, factor)
    if not whole.any():
        msg = f"{path} must lie where the scan lies, got no common coarse voxel; give a CT of that session."
        raise ValueError(msg)
    return Truth(resample(np.asarray(item[_TRUTH][0]), source, grid, fill=PADDING_HU), whole)


def compare(
    refined: NDArray[np.int16], truth: Truth, coarse_hu: NDArray[np.float32], grid: Grid
) -> dict[str, Any]:
    """Score a refined volume.

    Args:
        refined: `(x, y, z)` in HU.
        truth: On the same grid.
        coarse_hu: What was refined.
        grid: Of both.

    Returns:
        `scores`, and `ring_correlation` unless no axial patch of 64 pixels shows anything.
    """
    fine = refined.astype(np.float32)
    right, front, _ = grid.spacing_mm
    factor = factor_between(refined.shape, coarse_hu.shape)
    pooled = factor if factor > 1 else LOW_PASS_FACTOR
    rings = local_ring_correlation(fine, truth.hu, truth.fov, (right * front) ** 0.5, pooled)
    return {
        "scores": score_ct(fine, truth.hu, coarse_hu, truth.fov),
        "ring_correlation": None if rings is None else rings.as_dict(),
    }
