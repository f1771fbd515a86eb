r"""Hounsfield units and the linear map by which networks see them: $x = (HU - lo) / (hi - lo)$.

The map never clips: what lies outside the window keeps its value and is counted by `clipped_share`.
NumPy and torch alike; with torch everything is differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Values = TypeVar("Values", "NDArray[Any]", "Tensor")

#: Air, by the definition of the scale.
AIR_HU = -1000.0
#: Written where there is no measurement; scanners pad with it or with less.
PADDING_HU = -1024.0


@dataclass(frozen=True)
class HounsfieldWindow:
    """Range of values that a network maps to 0 to 1; stored in every checkpoint.

    Args:
        low_hu: Value that becomes 0.
        high_hu: Value that becomes 1; the default gives the 2500 HU that peers report PSNR over.

    Raises:
        ValueError: If the range is empty or not finite.
    """

    low_hu: float = PADDING_HU
    high_hu: float = 1476.0

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        if not (isfinite(self.low_hu) and isfinite(self.high_hu) and self.low_hu < self.high_hu):
            msg = (
                f"HU window must be finite with low < high, got {self.low_hu:g} to {self.high_hu:g}; "
                "give the lower end first, for example -1024 1476."
            )
            raise ValueError(msg)

    @property
    def width_hu(self) -> float:
        """Distance between the ends: the peak that a PSNR over this window is stated with."""
        return self.high_hu - self.low_hu

    def normalise(self, hu: Values) -> Values:
        """Map HU to what networks see.

        Args:
            hu: Array or tensor of any shape.

        Returns:
            Same shape; below 0 or above 1 where `hu` lies outside the window.
        """
        return (hu - self.low_hu) / self.width_hu

    def restore(self, values: Values) -> Values:
        """Undo `normalise`.

        Args:
            values: Array or tensor of any shape, 0 to 1 inside the window.

        Returns:
            Same shape, HU.
        """
        return values * self.width_hu + self.low_hu

    def clip(self, hu: Values) -> Values:
        """Move values outside the window to its ends.

        Args:
            hu: Array or tensor of any shape.
        """
        return hu.clip(self.low_hu, self.high_hu)

    def clipped_share(self, hu: Values) -> float:
        """Share of voxels that `clip` would change, 0 to 1.

        Args:
            hu: Array or tensor of any shape.
        """
        outside = (hu < self.low_hu) | (hu > self.high_hu)
        return float(outside.sum()) / max(1, prod(outside.shape))
