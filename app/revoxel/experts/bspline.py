"""BSPLINE: cubic B-spline interpolation along the slice axis as one matrix product.

Equal to ITK's `BSplineInterpolateImageFunction` of order 3 (mirror boundary), see the reference test.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from revoxel.core.geometry import interpolation_matrix
from revoxel.experts.problem import SliceProblem


def bspline(problem: SliceProblem) -> Tensor:
    """Interpolate the slices at the fine sample centres: `(x, y, n_low)` to `(x, y, n_high)`."""
    weights = spline_weights(problem.n_low, problem.n_high, 1.0 / problem.ratio)
    return problem.low @ weights.to(problem.low)


@lru_cache(maxsize=64)
def spline_weights(n_from: int, n_to: int, step: float) -> Tensor:
    """Cubic B-spline between two samplings whose first edges coincide, `(n_from, n_to)`, float32.

    Args:
        n_from: Number of samples given.
        n_to: Number of samples wanted.
        step: Distance of the wanted samples in units of the given ones.
    """
    positions = (np.arange(n_to, dtype=np.float64) + 0.5) * step - 0.5
    return torch.from_numpy(interpolation_matrix(n_from, positions).T.copy())
