r"""What a user would try first, beside interpolation: a constant, and unsharp masking.

Unsharp masking adds $a\,(v - G_\sigma v)$ to the interpolated volume. For each $\sigma$ the $a$ of least
squares is known in closed form, so it is fixed on training patients and never tuned on the one tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from revoxel.ct.evaluation.scores import FIGURE_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Volume = NDArray[np.float32]
    Mask = NDArray[np.bool_]

SIGMAS_VOXELS = (1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Unsharp:
    """Strength of unsharp masking.

    Attributes:
        sigma_voxels: Of the Gaussian, in voxels of the volume that is sharpened.
        amount: Factor of what the Gaussian takes away.
        source: Where the numbers come from.
    """

    sigma_voxels: float = 3.0
    amount: float = 1.0
    source: str = "default; there are no other patients to fix it on"


@dataclass(frozen=True, eq=False)
class UnsharpFit:
    """Sums over one volume from which the best amount follows, one number per sigma.

    Attributes:
        detail_error: Detail times missing detail.
        detail_detail: Detail squared.
    """

    detail_error: NDArray[np.float64]
    detail_detail: NDArray[np.float64]


def constant(coarse_hu: Volume, shape: tuple[int, ...]) -> Volume:
    """The mean of the coarse volume everywhere.

    Args:
        coarse_hu: `(x, y, z)` in HU.
        shape: Of the result.
    """
    return np.full(shape, coarse_hu.mean(dtype=np.float64), dtype=np.float32)


def unsharp(volume_hu: Volume, settings: Unsharp) -> Volume:
    """Sharpen.

    Args:
        volume_hu: `(x, y, z)` in HU, interpolated to the grid of the result.
        settings: How much.

    Returns:
        `(x, y, z)` in HU.
    """
    sharp: Volume = volume_hu + settings.amount * _detail(volume_hu, settings.sigma_voxels)
    return sharp


def fit_unsharp(volume_hu: Volume, truth_hu: Volume, mask: Mask) -> UnsharpFit:
    """What one training volume says about the best amount.

    Args:
        volume_hu: `(x, y, z)` in HU, interpolated.
        truth_hu: `(x, y, z)` in HU.
        mask: `(x, y, z)`, the field of view.
    """
    clipped = FIGURE_WINDOW.clip(volume_hu)
    error = (FIGURE_WINDOW.clip(truth_hu) - clipped)[mask].astype(np.float64)
    details = (_detail(clipped, sigma)[mask].astype(np.float64) for sigma in SIGMAS_VOXELS)
    sums = np.array([(detail @ error, detail @ detail) for detail in details])
    return UnsharpFit(sums[:, 0] / error.size, sums[:, 1] / error.size)


def best_unsharp(fits: Sequence[UnsharpFit], names: Iterable[str]) -> Unsharp:
    """Sigma and amount with the smallest mean squared error over training volumes, each weighted alike.

    Args:
        fits: One per volume; empty gives the default.
        names: Of the volumes, for the record.
    """
    if not fits:
        return Unsharp()
    cross = sum(fit.detail_error for fit in fits)
    square = sum(fit.detail_detail for fit in fits)
    amounts = np.divide(cross, square, out=np.zeros_like(cross), where=square > 0)
    best = int(np.argmax(amounts * cross))
    source = f"least squares over {', '.join(sorted(set(names)))}"
    return Unsharp(SIGMAS_VOXELS[best], round(float(amounts[best]), 4), source)


def _detail(volume: Volume, sigma_voxels: float) -> Volume:
    blurred: Volume = gaussian_filter(volume, sigma_voxels, mode="nearest")
    return volume - blurred
