"""One prepared scan of a study, ready to be refined and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from revoxel.core.volumes import read_volume
from revoxel.ct.evaluation.scores import factor_between, whole_blocks
from revoxel.ct.hounsfield import PADDING_HU

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.ct.scans.study import CtRow, CtStudy


@dataclass(frozen=True, eq=False)
class CtCase:
    """A pair of volumes.

    Attributes:
        row: Of the study.
        truth_hu: `(x, y, z)` in HU, RAS.
        coarse_hu: `(x / f, y / f, z / f)` in HU.
        mask: `(x, y, z)`, blocks inside the original field of view.
        grid: Of the truth.
        coarse_grid: Of the coarse volume.
        factor: f, fine voxels along a coarse one.
    """

    row: CtRow
    truth_hu: NDArray[np.float32]
    coarse_hu: NDArray[np.float32]
    mask: NDArray[np.bool_]
    grid: Grid
    coarse_grid: Grid
    factor: int


def read_case(study: CtStudy, row: CtRow) -> CtCase:
    """Read what `revoxel ct prepare` wrote.

    Args:
        study: Where the row stands.
        row: Which scan.

    Returns:
        The scan.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the volumes do not belong together, or no block lies in the field of view.
    """
    fine, coarse = (read_volume(study.resolve(path)) for path in (row.fine, row.coarse))
    factor = factor_between(fine.data.shape, coarse.data.shape)
    mask = whole_blocks(fine.data > PADDING_HU, factor)
    if not mask.any():
        msg = f"{row.name} must hold blocks inside the field of view, got only padding; prepare it again."
        raise ValueError(msg)
    return CtCase(row, fine.data, coarse.data, mask, fine.grid, coarse.grid, factor)
