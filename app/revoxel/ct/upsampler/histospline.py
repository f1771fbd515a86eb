r"""Upsampling that keeps block means without steps: differences of a spline through the cumulative sums.

Along each axis the sums of the coarse voxels are known at the voxels' faces; a quintic spline through them,
differentiated over fine voxels, has the coarse voxels as its means. Source: Boneva, Kendall and Stefanov,
"Spline transformations", J. R. Stat. Soc. B 33 (1971). Its kernel falls by 0.43 per coarse voxel and is cut
off after 8, so that a tile needs no more than its neighbourhood; one shift per block makes the means exact.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import make_interp_spline

from revoxel.ct.consistency import shift_blocks

if TYPE_CHECKING:
    from torch import Tensor

#: Coarse voxels on either side that a fine voxel depends on.
RADIUS = 8
_DEGREE = 5
_N_AXIS = 61


def upsample_histospline(coarse: Tensor, factor: int = 4) -> Tensor:
    """Upsample smoothly and keep block means.

    Args:
        coarse: `(B, C, X, Y, Z)`, float32 or float64.
        factor: ratio of the spacings.

    Returns:
        `(B, C, factor X, factor Y, factor Z)`; its block means are `coarse`.
    """
    taps = torch.as_tensor(spline_taps(factor), dtype=coarse.dtype, device=coarse.device)
    fine = coarse
    for axis in (2, 3, 4):
        fine = _upsample_axis(fine, taps, axis)
    return shift_blocks(fine, coarse, factor)


def _upsample_axis(volume: Tensor, taps: Tensor, axis: int) -> Tensor:
    lines = volume.movedim(axis, -1)
    padded = F.pad(lines.flatten(0, -2)[:, None], (RADIUS, RADIUS), mode="replicate")
    fine = F.conv1d(padded, taps[:, None]).transpose(1, 2)
    return fine.reshape(*lines.shape[:-1], -1).movedim(-1, axis)


@lru_cache(maxsize=4)
def spline_taps(factor: int) -> np.ndarray:
    """Weights of the neighbouring coarse voxels for each fine voxel of a block.

    Args:
        factor: fine voxels per coarse one.

    Returns:
        `(factor, 2 * RADIUS + 1)`; every row sums to 1.
    """
    middle = _N_AXIS // 2
    faces = np.arange(_N_AXIS + 1.0)
    sums = np.vstack([np.zeros((1, _N_AXIS)), np.eye(_N_AXIS).cumsum(axis=0)])
    fine_faces = middle + np.arange(factor + 1) / factor
    taps = np.diff(make_interp_spline(faces, sums, k=_DEGREE)(fine_faces), axis=0) * factor
    near = taps[:, middle - RADIUS : middle + RADIUS + 1]
    return near / near.sum(axis=1, keepdims=True)
