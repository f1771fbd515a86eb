"""Estimate the slice profile's width from the thick-slice volume alone: no training, no ground truth.

The volume is blurred and subsampled along an in-plane axis with a candidate profile, so that two axes are
thick. If the candidate is as wide as the true profile, fourth differences along both axes have equal energy,
up to what anatomy itself does to them; a candidate too wide leaves more detail along the slice axis. White
noise adds the same to both sides.

The shape is not estimated: between a Gaussian and a rectangle of equal width the log energies differ by less
than 0.01, between two heads by 0.15.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, erf, exp, hypot, log, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from revoxel.core.geometry import Grid, slice_axis
from revoxel.core.volumes import Volume
from revoxel.experts.axis_energy import difference, log_energy
from revoxel.experts.profiles import FWHM_PER_STD, SliceProfile
from revoxel.experts.slices import SliceOperator

#: Candidate standard deviations relative to the slice separation: from deep gaps to overlapping slices.
CANDIDATES = tuple(np.geomspace(0.16, 0.95, 10).tolist())
WITHIN = 0.15
MIN_CONFIDENCE = 0.3
_MIN_SLICES = 8
_VOXEL_STD_CORRECTION = 0.22
_SPREAD_SHARE = 0.2
_QUANTILE = 1.28  # of the normal distribution, two-sided 80 %
_ORDER = 4
# Heads are longest front to back, so fewer edges face that way: log energy relative to left-right, on
# brains of five people at equal thickness along both axes.
_ANATOMY_LOG_ENERGY = (0.0, -0.18, 0.03)
# Standard deviation over anatomies of the log energy's remainder, measured likewise.
_ANATOMY_LOG_STD = 0.11


@dataclass(frozen=True)
class ProfileEstimate:
    """An estimated slice profile.

    Args:
        profile: What to assume: a Gaussian of the estimated width, or the prior where the
            estimate is not to be trusted.
        std_mm: Estimated standard deviation.
        interval_mm: Interval that holds the true standard deviation with about 80 % probability.
        confidence: Estimated probability, 0 to 1, that `std_mm` is within 15 % of the truth.
        reference_std_mm: Estimate by each in-plane axis.
        trusted: Whether `profile` has the estimated width.
    """

    profile: SliceProfile
    std_mm: float
    interval_mm: tuple[float, float]
    confidence: float
    reference_std_mm: tuple[float, ...]
    trusted: bool

    @property
    def fwhm_mm(self) -> float:
        """Full width at half maximum of the Gaussian of the estimated standard deviation, in mm."""
        return self.std_mm * FWHM_PER_STD

    def record(self) -> dict[str, object]:
        """Plain values for a JSON record."""
        return {
            "profile": self.profile.label,
            "std_mm": self.std_mm,
            "fwhm_mm": self.fwhm_mm,
            "interval_mm": self.interval_mm,
            "confidence": self.confidence,
            "reference_std_mm": self.reference_std_mm,
            "trusted": self.trusted,
        }


def estimate_profile(volume: Volume, axis: int | None = None) -> ProfileEstimate:
    """Estimate the slice profile of a thick-slice volume.

    Args:
        volume: The thick-slice volume; nothing else is looked at.
        axis: Slice axis; `None` takes the coarsest.

    Returns:
        The estimate. Where it is not to be trusted, `profile` is a Gaussian whose FWHM is the header's slice
        thickness, or the separation if the header has none.

    Raises:
        ValueError: If the volume is isotropic and no axis is given.
    """
    axis = slice_axis(volume.grid) if axis is None else axis
    separation_mm = volume.grid.spacing_mm[axis]
    data = _occupied(volume.data)
    references = [other for other in range(3) if other != axis]
    if min(data.shape[axis], *(_n_thick(data, volume.grid, axis, r) for r in references)) < _MIN_SLICES:
        return _untrusted(volume, separation_mm)
    matches = [_match(data, volume.grid, axis, reference) for reference in references]
    return _combine(volume, separation_mm, matches)


@dataclass(frozen=True)
class _Match:
    """Log of the width relative to the separation, and how fast the log energies part around it."""

    log_width: float
    slope: float


def _match(data: NDArray[np.float32], grid: Grid, axis: int, reference: int) -> _Match:
    """Width at which the energies along both axes agree, by one reference axis."""
    anatomy = _anatomy(grid, axis) - _anatomy(grid, reference)
    balance = [
        _energy_balance(_thicken(data, grid, axis, reference, relative), axis, reference) - anatomy
        for relative in CANDIDATES
    ]
    # Energy along the reference axis falls with the candidate's width, so the balance rises through zero.
    rising = np.maximum.accumulate(balance)
    log_widths = np.log(CANDIDATES)
    log_width = float(np.interp(0.0, rising, log_widths))
    near = np.interp(log_width + np.array([-0.15, 0.15]), log_widths, rising)
    return _Match(log_width, float(near[1] - near[0]) / 0.3)


def _energy_balance(data: NDArray[np.float32], axis: int, reference: int) -> float:
    return log_energy(difference(data, _ORDER, axis)) - log_energy(difference(data, _ORDER, reference))


def _thicken(
    data: NDArray[np.float32], grid: Grid, axis: int, reference: int, relative: float
) -> NDArray[np.float32]:
    """Make the volume as thick along `reference` as a candidate would have made it along `axis`."""
    separation_mm, spacing_mm = grid.spacing_mm[axis], grid.spacing_mm[reference]
    n_high = data.shape[reference]
    # A voxel counts as a Gaussian in Gaussian profiles and as a box in others: the middle serves both.
    std_mm = hypot(relative * separation_mm, _VOXEL_STD_CORRECTION * spacing_mm)
    profile = SliceProfile.gauss(FWHM_PER_STD * std_mm)
    n_low = ceil(n_high * spacing_mm / separation_mm)
    operator = SliceOperator.build(n_low, n_high, spacing_mm, separation_mm, profile)
    lines = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data, reference, -1)))
    return np.ascontiguousarray(np.moveaxis(operator.forward(lines).numpy(), -1, reference))


def _combine(volume: Volume, separation_mm: float, matches: list[_Match]) -> ProfileEstimate:
    log_widths = [match.log_width for match in matches]
    slope = float(np.mean([match.slope for match in matches]))
    mean = float(np.mean(log_widths))
    log_std = hypot(_ANATOMY_LOG_STD / max(slope, 0.1), _SPREAD_SHARE * float(np.ptp(log_widths)))
    confidence = _probability_within(mean, log_std)
    trusted = confidence >= MIN_CONFIDENCE
    std_mm = separation_mm * exp(mean)
    profile = SliceProfile.gauss(FWHM_PER_STD * std_mm) if trusted else _header_profile(volume, separation_mm)
    interval_mm = (std_mm * exp(-_QUANTILE * log_std), std_mm * exp(_QUANTILE * log_std))
    references = tuple(separation_mm * exp(width) for width in log_widths)
    return ProfileEstimate(profile, std_mm, interval_mm, confidence, references, trusted)


def _probability_within(mean: float, log_std: float) -> float:
    at_the_end = min(mean - log(CANDIDATES[0]), log(CANDIDATES[-1]) - mean) < 0.02
    if at_the_end:
        return 0.1
    return erf(log(1 + WITHIN) / (log_std * sqrt(2.0)))


def _header_profile(volume: Volume, separation_mm: float) -> SliceProfile:
    return SliceProfile.gauss(volume.thickness_mm or separation_mm)


def _untrusted(volume: Volume, separation_mm: float) -> ProfileEstimate:
    profile = _header_profile(volume, separation_mm)
    low, high = CANDIDATES[0] * separation_mm, CANDIDATES[-1] * separation_mm
    return ProfileEstimate(profile, profile.std_mm, (low, high), 0.0, (), trusted=False)


def _anatomy(grid: Grid, axis: int) -> float:
    direction = np.abs(grid.affine[:3, axis])
    return float(np.dot(direction**2, _ANATOMY_LOG_ENERGY) / np.dot(direction, direction))


def _n_thick(data: NDArray[np.float32], grid: Grid, axis: int, reference: int) -> int:
    return int(data.shape[reference] * grid.spacing_mm[reference] / grid.spacing_mm[axis])


def _occupied(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """The box around everything brighter than 2 % of the 99.9th percentile, that percentile being 1."""
    data = np.asarray(data, dtype=np.float32)
    scale = float(np.percentile(np.abs(data[::2, ::2, ::2]), 99.9)) or 1.0
    bright = np.abs(data) > 0.02 * scale
    box = []
    for axis in range(3):
        found = np.flatnonzero(bright.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(None))
    return data[tuple(box)] / np.float32(scale)
