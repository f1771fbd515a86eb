"""What every expert solves: thick slices along the last axis, and the operator that made them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import SliceOperator


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
