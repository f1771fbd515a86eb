"""Does a tumour survive the network's grid? Its volume before and after resampling, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.geometry import Grid, resample
from revoxel.semivae.features.extract import bounding_box, voxel_mm3

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_CHANGE = 0.20


@dataclass(frozen=True)
class NetworkGrid:
    """Cube that the network sees, around the middle of the scan.

    Args:
        voxel_mm: Its isotropic voxel size.
        size: Voxels along every side.

    Raises:
        ValueError: If one of them is not positive.
    """

    voxel_mm: float = 1.875
    size: int = 128

    def __post_init__(self) -> None:
        """Refuse an impossible cube."""
        if not (0 < self.voxel_mm < np.inf and self.size > 0):
            msg = (
                f"voxel_mm and size must be positive, got {self.voxel_mm:g} and {self.size}; use 1.875, 128."
            )
            raise ValueError(msg)

    def around(self, grid: Grid) -> Grid:
        """The cube in RAS order, its centre at that of a scan.

        Args:
            grid: Of the scan.
        """
        affine = np.diag((self.voxel_mm, self.voxel_mm, self.voxel_mm, 1.0))
        middle_mm = grid.world((np.asarray(grid.shape) - 1) / 2)
        affine[:3, 3] = middle_mm - self.voxel_mm * (self.size - 1) / 2
        return Grid((self.size, self.size, self.size), affine)


def resampled_volume_mm3(label: NDArray[Any], grid: Grid, target: NetworkGrid) -> float:
    """Volume of all tumour labels on the network's grid, by nearest neighbour.

    Args:
        label: `(i, j, k)` whole numbers.
        grid: Of the label map.
        target: The network's cube.

    Returns:
        Volume in mm^3; NaN of an empty label map.

    Raises:
        ValueError: If the tumour touches the cube's border, or its volume changes by more than 20 %.
    """
    foreground = label != 0
    if not foreground.any():
        return float("nan")
    moved = resample(foreground, grid, target.around(grid), order=0, fill=0.0) > 0
    box = bounding_box(moved)
    if box is None or any(one.start == 0 or one.stop == target.size for one in box):
        msg = (
            f"tumour must lie inside the crop of {target.size} voxels of {target.voxel_mm:g} mm, got one "
            "that touches its border; enlarge --size or --voxel-mm."
        )
        raise ValueError(msg)
    native_mm3 = np.count_nonzero(foreground) * voxel_mm3(grid)
    volume_mm3 = np.count_nonzero(moved) * target.voxel_mm**3
    change = volume_mm3 / native_mm3 - 1
    if abs(change) > _MOST_CHANGE:
        msg = (
            f"resampled tumour volume must be within {_MOST_CHANGE:.0%} of the native {native_mm3:.0f} mm^3, "
            f"got {volume_mm3:.0f} ({change:+.0%}); it is too small for {target.voxel_mm:g} mm voxels."
        )
        raise ValueError(msg)
    return volume_mm3
