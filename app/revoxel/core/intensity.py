"""One invertible affine intensity map per case, shared by all its volumes; the foreground that sets it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from torch import Tensor

Numbers = TypeVar("Numbers", float, NDArray[Any], "Tensor")
MIN_BACKGROUND_SHARE = 0.2
MIN_OBJECT_SHARE = 0.99


@dataclass(frozen=True)
class IntensityMap:
    """The map `x -> (x - shift) * scale`.

    Attributes:
        scale: Mapped units per input unit, positive.
        shift: Input value that maps to zero.

    Raises:
        ValueError: If the map cannot be inverted.
    """

    scale: float
    shift: float

    def __post_init__(self) -> None:
        """Refuse maps that lose information."""
        if not (isfinite(self.scale) and self.scale > 0 and isfinite(self.shift)):
            msg = f"intensity map must be finite with positive scale, got {self}; check the reference volume."
            raise ValueError(msg)

    def apply(self, values: Numbers) -> Numbers:
        """Map input units to the shared scale.

        Args:
            values: Number, array or tensor.

        Returns:
            The same kind and shape.
        """
        return (values - self.shift) * self.scale

    def invert(self, values: Numbers) -> Numbers:
        """Map the shared scale back to input units.

        Args:
            values: Number, array or tensor.

        Returns:
            The same kind and shape.
        """
        return values / self.scale + self.shift

    @classmethod
    def from_percentiles(
        cls,
        reference: NDArray[Any],
        mask: NDArray[np.bool_] | None = None,
        lower: float = 0.5,
        upper: float = 99.5,
    ) -> IntensityMap:
        """Send two percentiles of a reference to 0 and 1.

        Args:
            reference: Values that set the range, any shape.
            mask: Voxels to look at, broadcastable to `reference`; `None` for all.
            lower: Percentile that maps to 0.
            upper: Percentile that maps to 1.

        Returns:
            The map.

        Raises:
            ValueError: If the mask is empty, the percentiles are out of order, or their values coincide.
        """
        if not 0 <= lower < upper <= 100:
            msg = f"percentiles must satisfy 0 <= lower < upper <= 100, got {lower} and {upper}; swap them."
            raise ValueError(msg)
        low, high = np.percentile(_selected(reference, mask), (lower, upper))
        return cls(scale=1 / _positive_range(high - low), shift=float(low))

    @classmethod
    def from_zscore(cls, reference: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> IntensityMap:
        """Send mean to 0 and standard deviation to 1.

        Args:
            reference: Values that set the scale, any shape.
            mask: Voxels to look at, broadcastable to `reference`; `None` for all.

        Returns:
            The map.

        Raises:
            ValueError: If the mask is empty or the values are constant.
        """
        values = _selected(reference, mask).astype(np.float64)
        return cls(scale=1 / _positive_range(values.std()), shift=float(values.mean()))


def foreground_mask(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the head or brain.

    Args:
        data: `(i, j, k)`, not constant.

    Returns:
        Boolean `(i, j, k)`. Where one background value fills more than a fifth of the volume around a single
        object (skull-stripped), everything above that value; else the largest part above Otsu's threshold,
        holes filled.

    Raises:
        ValueError: If `data` is constant.
    """
    if data.min() == data.max():
        msg = f"volume must not be constant, got {data.flat[0]} everywhere; give an image with contrast."
        raise ValueError(msg)
    background = _rim_value(data)
    if (data == background).mean() > MIN_BACKGROUND_SHARE and _is_one_object(data > background):
        return data > background
    return ndimage.binary_fill_holes(_largest_part(data > _otsu_threshold(data)))


def _rim_value(data: NDArray[Any]) -> float:
    """Typical value of the outer faces; not the minimum: skull-stripped floats dip below their background."""
    faces = [data.take(index, axis).ravel() for axis in range(3) for index in (0, -1)]
    return float(np.median(np.concatenate(faces)))


def _otsu_threshold(data: NDArray[Any]) -> float:
    from skimage.filters import threshold_otsu

    # A few very bright voxels would stretch the histogram until the head falls into its first bins.
    # Flat, or a scan of three or four slices would be taken for a colour picture.
    return float(threshold_otsu(np.minimum(data, np.percentile(data, 99.9)).ravel()))


def _is_one_object(mask: NDArray[np.bool_]) -> bool:
    n_voxels = np.count_nonzero(mask)
    return bool(n_voxels and np.count_nonzero(_largest_part(mask)) >= MIN_OBJECT_SHARE * n_voxels)


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, n_parts = ndimage.label(mask)
    if n_parts < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _selected(reference: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    values = np.asarray(reference)
    if mask is not None:
        values = values[np.broadcast_to(np.asarray(mask, dtype=bool), values.shape)]
    if values.size == 0:
        msg = "intensity reference must have voxels in its mask, got none; check the foreground mask."
        raise ValueError(msg)
    return values


def _positive_range(value: float) -> float:
    if not value > 0:
        msg = f"intensity reference must not be constant, got a range of {value:g}; check its mask."
        raise ValueError(msg)
    return float(value)
