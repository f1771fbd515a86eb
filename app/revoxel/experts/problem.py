"""What every expert solves: thick slices along the last axis, and the operator that made them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import SliceOperator

_BACKGROUND_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class SliceProblem:
    """Thick slices on their way to a fine grid.

    Args:
        low: `(x, y, n_low)`, float32, on the fine grid in-plane; scaled so that tissue is 0 to about 1.
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

    @cached_property
    def operator(self) -> SliceOperator:
        """The thick-slice operator of this problem."""
        return SliceOperator.build(
            self.n_low, self.n_high, self.spacing_high_mm, self.separation_mm, self.profile
        )

    @cached_property
    def empty(self) -> Tensor | None:
        """`(x, y, n_high)` mask of the samples whose slices all hold one constant background.

        `None` when less than 5 % of the volume shares one value.
        """
        values, counts = torch.unique(self.low[::3, ::3], return_counts=True)
        if counts.max() < _BACKGROUND_SHARE * counts.sum():
            return None
        occupied = (self.low != values[counts.argmax()]).to(torch.float32)
        return (occupied @ self._reach()) == 0

    def _reach(self) -> Tensor:
        reach = (self.operator.matrix > 1e-6).to(torch.float32)
        index = torch.arange(self.n_high)
        nearest = ((index + 0.5) / self.ratio - 0.5).round().long().clamp(0, self.n_low - 1)
        reach[nearest, index] = 1.0
        return reach
