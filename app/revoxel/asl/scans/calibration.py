"""Equilibrium magnetisation: correct it for its repetition time, find the brain on it, divide by it."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: T1 of grey matter at 3 T in ms, for M0 that had no time to recover (Wansapura 1999).
T1_TISSUE_MS = 1330.0
#: M0 below this share of its median is not trusted as a divisor.
FLOOR = 0.05
_N_BINS = 256


@dataclass(frozen=True, eq=False)
class M0:
    """Equilibrium magnetisation of tissue.

    Args:
        data: `(i, j, k)`, as measured.
        tr_ms: Its repetition time; None if unknown or of no matter.
        source: Where it came from, for the record.
        measured: Whether it is an image, not one number for all voxels.
    """

    data: NDArray[np.float32]
    tr_ms: float | None
    source: str
    measured: bool = True

    @property
    def recovery(self) -> float:
        """Share of the magnetisation that had recovered."""
        return 1.0 if self.tr_ms is None else 1.0 - exp(-self.tr_ms / T1_TISSUE_MS)


def brain_mask(image: NDArray[np.float32], name: str) -> NDArray[np.bool_]:
    """Find the brain: Otsu's threshold, holes filled slice by slice, the largest connected part.

    Args:
        image: `(i, j, k)`, bright in tissue.
        name: Of the image, for messages.

    Returns:
        Mask of the same shape.

    Raises:
        ValueError: If nothing stands out.
    """
    finite = np.nan_to_num(image, posinf=0.0, neginf=0.0)
    if finite.min() == finite.max():
        msg = f"{name} must show a brain, got one value everywhere; pass --mask FILE."
        raise ValueError(msg)
    bright = finite > _threshold(finite)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(bright, 2, 0)], axis=2)
    parts, n_parts = ndimage.label(filled)
    sizes = ndimage.sum_labels(filled, parts, np.arange(1, n_parts + 1))
    return np.asarray(parts == 1 + int(np.argmax(sizes)))


def _threshold(image: NDArray[np.float32]) -> float:
    """Otsu's threshold, in the middle of the gap that it falls into.

    Behind a background without noise every threshold up to the tissue is as good, and the first one lies
    within the background's own bin: what is hardly brighter than nothing would be brain.
    """
    half_bin = (float(image.max()) - float(image.min())) / _N_BINS / 2
    end_of_dark = float(threshold_otsu(image.ravel(), _N_BINS)) + half_bin
    dark = image <= end_of_dark
    return (float(image[dark].max()) + float(image[~dark].min())) / 2


def divide_by_m0(
    images: NDArray[np.float32], m0: M0, mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Express images in units of tissue M0.

    Args:
        images: `(image, i, j, k)`, or anything linear in the signal.
        m0: Equilibrium magnetisation.
        mask: `(i, j, k)`, where its median is taken.

    Returns:
        Images over M0, the divisor `(i, j, k)`, and in how many voxels of the mask it had to be raised.

    Raises:
        ValueError: If M0 is not positive in the mask.
    """
    corrected = np.nan_to_num(m0.data, posinf=0.0, neginf=0.0) / np.float32(m0.recovery)
    median = float(np.median(corrected[mask]))
    if median <= 0:
        msg = f"M0 ({m0.source}) must be > 0 in the brain, got median {median:g}; give another with --m0."
        raise ValueError(msg)
    floor = np.float32(FLOOR * median)
    divisor = np.maximum(corrected, floor)
    return images / divisor, divisor, int((corrected < floor)[mask].sum())
