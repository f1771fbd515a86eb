"""Sub-pixel phases along the slice axis: the fixed matrices around the learned experts.

A network that works on the low-resolution grid returns P values per slice (a one-dimensional sub-pixel
shuffle). They live on the phase grid: P equidistant samples per slice. For a ratio that is no integer the
phase grid is finer than the target and a cubic interpolation leads to the target.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from revoxel.experts.bspline import spline_weights


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
        return spline_weights(self.n_low, self.n_low * self.n_phases, 1.0 / self.n_phases)

    def to_target(self) -> Tensor | None:
        """Cubic B-spline from phases to target samples, `(n_low * n_phases, n_high)`; `None` if equal."""
        n_fine = self.n_low * self.n_phases
        step = self.n_phases / self.ratio
        if self.n_high == n_fine and abs(step - 1.0) * n_fine < 1e-3:
            return None
        return spline_weights(n_fine, self.n_high, step)
