r"""Local Fourier ring correlation: up to which frequency a refined CT agrees with the truth, place by place.

Of an axial patch with spectra $F$ and $G$, and the pixels $R_k$ of the ring of radius $k$:

$\mathrm{FRC}(k) = \frac{\Re\sum_{R_k} F\,\bar G}{\sqrt{\sum_{R_k}|F|^2\,\sum_{R_k}|G|^2}}$

What a refiner adds above the coarse grid's Nyquist frequency is true only as far as this stays high: invented
structure has power there, but no correlation.

Source: Saxton and Baumeister, Journal of Microscopy 127(2), 1982; local windows: scanning Fourier ring
correlation, Wang et al., arXiv:2603.04673.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Volume = NDArray[np.float32]
    Mask = NDArray[np.bool_]

PATCH = 64
STRIDE = 32
THRESHOLD = 0.5
#: A patch of air or of one tissue has no structure whose recovery could be judged.
MIN_CONTRAST_HU = 30.0
_N_RINGS = PATCH // 2


@dataclass(frozen=True, eq=False)
class RingCorrelation:
    """Agreement by frequency.

    Attributes:
        frequencies_per_mm: `(ring,)`, cycles/mm, without the mean value.
        mean: `(ring,)`, mean over patches.
        cutoffs_per_mm: `(patch,)`, first frequency whose correlation is below 0.5; the last if none is.
        coarse_nyquist_per_mm: Highest frequency that the coarse grid can hold, cycles/mm.
    """

    frequencies_per_mm: NDArray[np.float64]
    mean: NDArray[np.float64]
    cutoffs_per_mm: NDArray[np.float64]
    coarse_nyquist_per_mm: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers: cut-offs over patches, and the mean curve above the coarse Nyquist frequency."""
        low, middle, high = np.percentile(self.cutoffs_per_mm, (25, 50, 75))
        above = self.frequencies_per_mm > self.coarse_nyquist_per_mm
        return {
            "n_patches": len(self.cutoffs_per_mm),
            "coarse_nyquist_cycles_per_mm": self.coarse_nyquist_per_mm,
            "cutoff_cycles_per_mm": float(middle),
            "cutoff_quartiles_cycles_per_mm": [float(low), float(high)],
            "share_of_patches_above_nyquist": float(
                (self.cutoffs_per_mm > self.coarse_nyquist_per_mm).mean()
            ),
            "frequencies_cycles_per_mm": self.frequencies_per_mm[above].round(5).tolist(),
            "mean_correlation": self.mean[above].round(4).tolist(),
        }


def local_ring_correlation(
    pred_hu: Volume, truth_hu: Volume, mask: Mask, spacing_mm: float, factor: int
) -> RingCorrelation | None:
    """Correlate axial patches of a refined CT with the truth; one slice in `factor` is looked at.

    Args:
        pred_hu: `(x, y, z)` in HU, x to the right, y to the front, z up.
        truth_hu: `(x, y, z)` in HU.
        mask: `(x, y, z)`; patches that reach beyond it are left out.
        spacing_mm: Of fine voxels in the axial plane.
        factor: Fine voxels along a coarse one.

    Returns:
        The correlation; `None` if no patch of 64 pixels lies in the mask and shows something.
    """
    curves = [
        curve
        for index in range(factor // 2, truth_hu.shape[2], factor)
        if len(curve := _slice_curves(pred_hu[..., index], truth_hu[..., index], mask[..., index]))
    ]
    if not curves:
        return None
    rings = np.concatenate(curves)
    frequencies = np.arange(1, _N_RINGS + 1) / (PATCH * spacing_mm)
    return RingCorrelation(
        frequencies, rings.mean(axis=0), frequencies[_first_below(rings)], 0.5 / (factor * spacing_mm)
    )


def _slice_curves(pred: Volume, truth: Volume, mask: Mask) -> NDArray[np.float64]:
    """Correlation by ring of every usable patch of a slice, `(patch, ring)`."""
    if min(truth.shape) < PATCH or not mask.any():
        return np.empty((0, _N_RINGS))
    inside = _patches(mask).all(axis=(1, 2))
    wanted, given = _patches(truth)[inside], _patches(pred)[inside]
    shown = wanted.std(axis=(1, 2)) >= MIN_CONTRAST_HU
    return ring_curves(given[shown], wanted[shown])


def ring_curves(first: Volume, second: Volume) -> NDArray[np.float64]:
    """Fourier ring correlation of patches under a Hann window.

    Args:
        first: `(patch, 64, 64)`.
        second: The same shape.

    Returns:
        `(patch, 32)`: rings of 1, 2, ... 32 cycles per patch; 0 where one of the patches is empty.
    """
    a, b = _spectra(first), _spectra(second)
    rings = _ring_weights()
    product = _power(a.real * b.real + a.imag * b.imag) @ rings
    energy = (_power(np.abs(a) ** 2) @ rings) * (_power(np.abs(b) ** 2) @ rings)
    return np.divide(product, np.sqrt(energy), out=np.zeros_like(product), where=energy > 0)


def _power(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    return spectrum.reshape(len(spectrum), PATCH * (PATCH // 2 + 1))


def _spectra(patches: Volume) -> NDArray[np.complex128]:
    taper = np.hanning(PATCH + 1)[:-1]
    centred = patches - patches.mean(axis=(1, 2), keepdims=True)
    return np.asarray(fft.rfft2(centred.astype(np.float64) * np.outer(taper, taper)))


@cache
def _ring_weights() -> NDArray[np.float64]:
    """Which ring a frequency is in, `(frequency, ring)`; half of the plane stands for both halves."""
    rows = fft.fftfreq(PATCH, 1 / PATCH)[:, None]
    columns = np.arange(PATCH // 2 + 1)[None]
    radius = np.rint(np.hypot(rows, columns)).astype(int)
    twice = np.where((columns == 0) | (columns == PATCH // 2), 1.0, 2.0)
    one_hot = radius[..., None] == np.arange(1, _N_RINGS + 1)
    return np.asarray((one_hot * twice[..., None]).reshape(-1, _N_RINGS), dtype=np.float64)


def _patches(plane: NDArray[Any]) -> NDArray[Any]:
    views = sliding_window_view(plane, (PATCH, PATCH))[::STRIDE, ::STRIDE]
    return views.reshape(-1, PATCH, PATCH)


def _first_below(rings: NDArray[np.float64]) -> NDArray[np.intp]:
    below = rings < THRESHOLD
    return np.where(below.any(axis=1), below.argmax(axis=1), _N_RINGS - 1)
