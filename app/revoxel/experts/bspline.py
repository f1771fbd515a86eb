"""BSPLINE: cubic B-spline interpolation along the slice axis as one matrix product.

Equal to ITK's `BSplineInterpolateImageFunction` of order 3 (mirror boundary), see the reference test.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import spline_filter1d
from torch import Tensor

from revoxel.experts.problem import SliceProblem


def bspline(problem: SliceProblem) -> Tensor:
    """Interpolate the slices at the fine sample centres: `(x, y, n_low)` to `(x, y, n_high)`."""
    positions = (np.arange(problem.n_high) + 0.5) / problem.ratio - 0.5
    matrix = interpolation_matrix(problem.n_low, tuple(positions))
    return problem.low @ torch.from_numpy(matrix.T).to(problem.low)


@lru_cache(maxsize=32)
def interpolation_matrix(n_samples: int, positions: tuple[float, ...]) -> NDArray[np.float64]:
    """Cubic B-spline interpolation as a matrix `(len(positions), n_samples)`, float64.

    Args:
        n_samples: Number of equidistant samples.
        positions: Where to evaluate, in units of the sample index (0 is the centre of the first sample).
    """
    at = np.asarray(positions, dtype=np.float64)
    if n_samples == 1:
        return np.ones((at.size, 1))
    coefficients = spline_filter1d(np.eye(n_samples), order=3, axis=0, mode="mirror")
    first = np.floor(at).astype(int) - 1
    basis = np.zeros((at.size, n_samples))
    for tap in range(4):
        column = _mirror(first + tap, n_samples)
        np.add.at(basis, (np.arange(at.size), column), _cubic_basis(at - (first + tap)))
    return basis @ coefficients


def _mirror(index: NDArray[np.int_], n_samples: int) -> NDArray[np.int_]:
    period = 2 * (n_samples - 1)
    folded = np.abs(index) % period
    return np.where(folded >= n_samples, period - folded, folded)


def _cubic_basis(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distance)
    inner = 2.0 / 3.0 - x**2 + 0.5 * x**3
    return np.where(x < 1.0, inner, np.clip(2.0 - x, 0.0, None) ** 3 / 6.0)
