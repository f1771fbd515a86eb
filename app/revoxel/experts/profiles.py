"""Slice profiles: how one thick slice weighs the tissue along its axis.

A profile is the physical sensitivity of a slice as a function of the distance from its centre. Its width
is stated as a standard deviation in mm, so that profiles of different shape can be compared: a Gaussian of
full width at half maximum F has F / 2.3548, a rectangle of width W has W / sqrt(12).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

FWHM_PER_STD = 2.0 * math.sqrt(2.0 * math.log(2.0))
# Width of an SLR pulse's edge relative to the slice: about what a time-bandwidth product of 4-5 gives.
SLR_EDGE_STD = 0.12


class ProfileKind(StrEnum):
    """Shape of a slice profile."""

    GAUSS = "gauss"
    RECT = "rect"
    SLR = "slr"
    ARRAY = "array"


@dataclass(frozen=True)
class SliceProfile:
    """Sensitivity of a slice along its axis.

    Args:
        kind: Shape. `slr` is a rectangle with soft edges (a rectangle convolved with a Gaussian of standard
            deviation 0.12 of its width), close to what Shinnar-Le Roux pulses excite.
        width_mm: Gaussian: full width at half maximum. Rectangle and SLR: nominal thickness.
            Array: distance between two samples.
        samples: Only for `array`: non-negative weights, odd number of samples centred on the slice.
        source: Only for `array`: the file the samples came from.
    """

    kind: ProfileKind
    width_mm: float
    samples: tuple[float, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse widths and samples that describe no profile.

        Raises:
            ValueError: If the width is not positive, or the samples are no profile.
        """
        if not (math.isfinite(self.width_mm) and self.width_mm > 0):
            msg = f"the width of a slice profile must be positive, got {self.width_mm} mm; state it in mm."
            raise ValueError(msg)
        if self.kind is ProfileKind.ARRAY:
            _check_samples(np.asarray(self.samples), self.source)

    @classmethod
    def gauss(cls, fwhm_mm: float) -> SliceProfile:
        """A Gaussian profile of the given full width at half maximum."""
        return cls(ProfileKind.GAUSS, float(fwhm_mm))

    @classmethod
    def rect(cls, width_mm: float) -> SliceProfile:
        """A rectangular profile of the given full width."""
        return cls(ProfileKind.RECT, float(width_mm))

    @classmethod
    def parse(cls, text: str) -> SliceProfile:
        """Read `gauss:5`, `rect:5`, `slr:5`, or `profile.npy[@step_mm]` (default step 1 mm).

        Raises:
            ValueError: If the text is none of these, or the file holds no profile.
            FileNotFoundError: If the file does not exist.
        """
        kind, _, width = text.partition(":")
        if kind in {ProfileKind.GAUSS, ProfileKind.RECT, ProfileKind.SLR}:
            return cls(ProfileKind(kind), _parse_width(width, text))
        name, _, step = text.partition("@")
        if name.endswith(".npy"):
            return cls._load(Path(name), _parse_width(step or "1", text))
        msg = f"a slice profile must be gauss:FWHM, rect:WIDTH, slr:WIDTH (mm) or FILE.npy, got {text!r}."
        raise ValueError(msg)

    @classmethod
    def _load(cls, path: Path, step_mm: float) -> SliceProfile:
        if not path.is_file():
            msg = f"slice profile {path} must be an existing .npy file; check the path."
            raise FileNotFoundError(msg)
        try:
            samples = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            msg = f"slice profile {path} must be a plain .npy array, got an unreadable file ({error})."
            raise ValueError(msg) from error
        _check_samples(samples, str(path))
        return cls(ProfileKind.ARRAY, step_mm, tuple(float(v) for v in samples), str(path))

    @property
    def std_mm(self) -> float:
        """Standard deviation in mm."""
        if self.kind is ProfileKind.GAUSS:
            return self.width_mm / FWHM_PER_STD
        if self.kind is ProfileKind.RECT:
            return self.width_mm / math.sqrt(12.0)
        if self.kind is ProfileKind.SLR:
            return self.width_mm * math.sqrt(1.0 / 12.0 + SLR_EDGE_STD**2)
        positions, weights = self._array()
        mean = float(np.dot(positions, weights))
        variance = float(np.dot((positions - mean) ** 2, weights))
        return math.sqrt(variance + self.width_mm**2 / 12.0)

    @property
    def fwhm_mm(self) -> float:
        """Full width at half maximum of the Gaussian of equal standard deviation, in mm."""
        return self.std_mm * FWHM_PER_STD

    @property
    def label(self) -> str:
        """The text that `parse` reads back."""
        if self.kind is ProfileKind.ARRAY:
            return f"{self.source}@{self.width_mm:g}"
        return f"{self.kind.value}:{self.width_mm:g}"

    def with_std(self, std_mm: float) -> SliceProfile:
        """The same shape at another standard deviation in mm."""
        return SliceProfile(self.kind, self.width_mm * std_mm / self.std_mm, self.samples, self.source)

    def cumulative(self, distance_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the profile below each signed distance (mm) from the slice centre, from 0 to 1."""
        if self.kind is ProfileKind.GAUSS:
            return 0.5 * (1.0 + erf(distance_mm / (self.std_mm * math.sqrt(2.0))))
        if self.kind is ProfileKind.RECT:
            return np.clip(distance_mm / self.width_mm + 0.5, 0.0, 1.0)
        if self.kind is ProfileKind.SLR:
            return _soft_rectangle(distance_mm / self.width_mm)
        positions, weights = self._array()
        edges = np.append(positions - self.width_mm / 2, positions[-1] + self.width_mm / 2)
        return np.interp(distance_mm, edges, np.concatenate([[0.0], np.cumsum(weights)]))

    def _array(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        weights = np.asarray(self.samples, dtype=np.float64)
        positions = (np.arange(weights.size, dtype=np.float64) - (weights.size - 1) / 2) * self.width_mm
        return positions, weights / weights.sum()


def _soft_rectangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    # Integral of the normal distribution function: closed form of the convolved rectangle's cumulative.
    def integral(x: NDArray[np.float64]) -> NDArray[np.float64]:
        z = x / SLR_EDGE_STD
        density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
        return x * 0.5 * (1.0 + erf(z / math.sqrt(2.0))) + SLR_EDGE_STD * density

    return np.clip(integral(distance + 0.5) - integral(distance - 0.5), 0.0, 1.0)


def _parse_width(width: str, text: str) -> float:
    try:
        return float(width)
    except ValueError as error:
        msg = f"the width in a slice profile must be a number of mm, got {text!r}; write for example gauss:5."
        raise ValueError(msg) from error


def _check_samples(samples: NDArray[np.float64], source: str) -> None:
    usable = samples.ndim == 1 and samples.size % 2 == 1 and np.issubdtype(samples.dtype, np.number)
    if not usable or not np.isfinite(samples).all() or samples.min() < 0 or samples.sum() <= 0:
        msg = (
            f"slice profile {source or 'array'} must be a 1D array of an odd number of finite, non-negative "
            f"weights with a positive sum, got shape {samples.shape}; resample it around its centre."
        )
        raise ValueError(msg)
