"""Sub-pixel phases along the slice axis: the fixed matrices around the learned experts.

A network that works on the low-resolution grid returns P values per slice (a one-dimensional sub-pixel
shuffle). They live on the phase grid: P equidistant samples per slice. For a ratio that is no integer the
phase grid is finer than the target and a cubic interpolation leads to the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from revoxel.experts.bspline import interpolation_matrix


@dataclass(frozen=True, eq=False)
class PhaseGrid:
    """Geometry of `n_low` slices with `n_phases` phases each, on the way to `n_high` fine samples.

    Args:
        n_low: Number of slices.
        n_phases: Phases per slice, at least the ratio rounded down.
        n_high: Number of target samples.
        ratio: Slice separation in target samples.
    """

    n_low: int
    n_phases: int
    n_high: int
    ratio: float

    def skip(self) -> Tensor:
        """Cubic B-spline from slices to phases, `(n_low, n_low * n_phases)`, float32."""
        at = (np.arange(self.n_low * self.n_phases) + 0.5) / self.n_phases - 0.5
        return _transposed(interpolation_matrix(self.n_low, tuple(at)))

    def to_target(self) -> Tensor | None:
        """Cubic B-spline from phases to target samples, `(n_low * n_phases, n_high)`; `None` if equal."""
        n_fine = self.n_low * self.n_phases
        at = (np.arange(self.n_high) + 0.5) * self.n_phases / self.ratio - 0.5
        if self.n_high == n_fine and np.allclose(at, np.arange(n_fine), atol=1e-6):
            return None
        return _transposed(interpolation_matrix(n_fine, tuple(at)))


def _transposed(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix.T)).to(torch.float32)
