"""What every expert solves: thick slices along the last axis, and the operator that made them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import SliceOperator


@dataclass(frozen=True, eq=False)
class SliceProblem:
    """Thick slices on their way to a fine grid.

    Args:
        low: `(x, y, n_low)`, float32, already on the fine grid in-plane; scaled so that tissue is about 0 to 1.
        n_high: Number of fine samples along the slice axis.
        spacing_high_mm: Distance of the fine samples along the slice axis in mm.
        separation_mm: Distance of the slices in mm.
        profile: Physical slice profile.
    """

    low: Tensor
    n_high: int
    spacing_high_mm: float
    separation_mm: float
    profile: SliceProfile

    @property
    def n_low(self) -> int:
        """Number of thick slices."""
        return int(self.low.shape[-1])

    @property
    def ratio(self) -> float:
        """Slice separation in fine samples; need not be an integer."""
        return self.separation_mm / self.spacing_high_mm

    @property
    def operator(self) -> SliceOperator:
        """The thick-slice operator of this problem."""
        return SliceOperator.build(
            self.n_low, self.n_high, self.spacing_high_mm, self.separation_mm, self.profile
        )

    def background(self) -> tuple[float, Tensor] | None:
        """Value of an exactly constant background and `(x, y, n_high)` mask of the samples it governs.

        A fine sample is background where every slice that it can receive from holds exactly that value.
        `None` when less than 5 % of the volume shares one value.
        """
        values, counts = torch.unique(self.low[::3, ::3, :], return_counts=True)
        if counts.max() < 0.05 * counts.sum():
            return None
        value = values[counts.argmax()]
        return float(value), self._support(self.low != value)

    def _support(self, occupied: Tensor) -> Tensor:
        reach = (self.operator.matrix > 1e-6).to(torch.float32)
        index = torch.arange(self.n_high, dtype=torch.float64)
        nearest = torch.clamp(((index + 0.5) / self.ratio - 0.5).round().long(), 0, self.n_low - 1)
        reach[nearest, torch.arange(self.n_high)] = 1.0
        return (occupied.to(torch.float32) @ reach) == 0
