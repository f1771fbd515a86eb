"""MONAI's images with an affine, and our grids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from revoxel.core.geometry import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray


def grid_of(image: MetaTensor) -> Grid:
    """Grid of a channel-first image.

    Args:
        image: `(channel, i, j, k)` with its affine.
    """
    i, j, k = image.shape[1:]
    return Grid((i, j, k), np.asarray(image.affine, dtype=np.float64))


def image_on(data: NDArray[Any], grid: Grid) -> MetaTensor:
    """Channel-first image on a grid.

    Args:
        data: `(channel, i, j, k)`.
        grid: Of its voxels.
    """
    values = torch.from_numpy(np.ascontiguousarray(data))
    return MetaTensor(values, affine=torch.from_numpy(grid.affine.copy()))
