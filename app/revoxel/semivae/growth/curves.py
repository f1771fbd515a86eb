"""Growth laws on log volume, each with its derivatives; time runs from a patient's first visit.

Parameters are unbounded, so that a normal distribution over patients makes sense:

- exponential: y = y0 + g t;
- linear: V = V0 (1 + g t), y = y0 + ln s(1 + g t), s a soft floor that keeps a shrinking tumour positive;
- Gompertz: y = ln K + (y0 - ln K) e^(-alpha t) with K > V0: ln K = y0 + softplus(u), alpha = e^a;
- reduced Gompertz: the same with one ln K for all patients, above every training visit: floor + a softplus of
  u that is sharp, so that u is ln K - floor itself but for a rim.

Gompertz in closed form on log volume: Laird, Br J Cancer 1964; the reduced form: Vaghi et al., PLOS Comput
Biol 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.semivae.growth.records import GrowthRecord

_FLOOR_SHARE = 0.05
_HIGHEST_LOG_RATE = 6.0
#: Sharpness of the softplus that keeps a shared ln K above its floor. Below minus one rim u tells nothing any
#: more, so that a fit stops there.
CAPACITY_RIM = 0.05


class Law(StrEnum):
    """How a tumour grows."""

    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    GOMPERTZ = "gompertz"
    REDUCED_GOMPERTZ = "reduced_gompertz"


class GrowthCurve(Protocol):
    """Log volume over time as a mixed model sees it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters, those that vary between patients first."""

    @property
    def n_random(self) -> int:
        """How many of them vary between patients."""

    @property
    def lowest(self) -> NDArray[np.float64]:
        """`(parameter,)` below which the mean over patients tells nothing."""

    def __call__(
        self, times_years: NDArray[np.float64], parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log volume `(row, time)` and its derivatives `(row, time, parameter)`; as of `Curve`."""

    def of_patient(self, record: GrowthRecord) -> Self:
        """The same law for one patient, who may be none of the training patients."""


@dataclass(frozen=True)
class Curve:
    """One law with what it must know of the training visits.

    Args:
        law: Which.
        floor: Largest training log volume; K of the reduced Gompertz stays above it.
    """

    law: Law
    floor: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters, those that vary between patients first."""
        if self.law in {Law.LINEAR, Law.EXPONENTIAL}:
            return ("log_v0", "rate")
        return ("log_v0", "log_alpha", "capacity")

    @property
    def n_random(self) -> int:
        """How many of them vary between patients."""
        return 3 if self.law is Law.GOMPERTZ else 2

    @property
    def lowest(self) -> NDArray[np.float64]:
        """`(parameter,)` below which the mean over patients tells nothing."""
        shared = self.law is Law.REDUCED_GOMPERTZ
        return np.array([-CAPACITY_RIM if shared and name == "capacity" else -np.inf for name in self.names])

    @property
    def has_capacity(self) -> bool:
        """Whether growth slows down towards a volume K."""
        return self.law in {Law.GOMPERTZ, Law.REDUCED_GOMPERTZ}

    def __call__(
        self, times_years: NDArray[np.float64], parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log volume and its derivatives.

        Args:
            times_years: `(..., time)` since the first visit.
            parameters: `(..., parameter)`.

        Returns:
            `(..., time)` log volume and `(..., time, parameter)` derivatives.
        """
        columns = [parameters[..., at, None] for at in range(len(self.names))]
        if self.law is Law.EXPONENTIAL:
            return _exponential(times_years, *columns)
        if self.law is Law.LINEAR:
            return _linear(times_years, *columns)
        if self.law is Law.GOMPERTZ:
            return _gompertz(times_years, *columns)
        return _reduced_gompertz(times_years, self.floor, *columns)

    def of_patient(self, record: GrowthRecord) -> Curve:
        """The law with its capacity above the patient's visits too.

        Args:
            record: The patient.
        """
        return replace(self, floor=max(self.floor, float(record.log_volumes.max())))

    def log_capacity(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log of the volume that a Gompertz tumour tends to.

        Args:
            parameters: `(..., 3)`.

        Raises:
            ValueError: If the law knows no such volume.
        """
        if not self.has_capacity:
            msg = f"law must be a Gompertz to have a capacity, got {self.law}; ask another one."
            raise ValueError(msg)
        if self.law is Law.GOMPERTZ:
            return parameters[..., 0] + np.logaddexp(0.0, parameters[..., 2])
        return self.floor + CAPACITY_RIM * np.logaddexp(0.0, parameters[..., 2] / CAPACITY_RIM)


def _exponential(
    t: NDArray[np.float64], y0: NDArray[np.float64], rate: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ones = np.ones(np.broadcast_shapes(t.shape, y0.shape))
    return y0 + rate * t, np.stack((ones, ones * t), axis=-1)


def _linear(
    t: NDArray[np.float64], y0: NDArray[np.float64], rate: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scaled = np.clip((1 + rate * t) / _FLOOR_SHARE, -500.0, None)
    soft = np.logaddexp(0.0, scaled)
    slope = expit(scaled) / soft / _FLOOR_SHARE
    return y0 + np.log(_FLOOR_SHARE * soft), np.stack((np.ones_like(slope), slope * t), axis=-1)


def _rate_of(log_alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(np.clip(log_alpha, -_HIGHEST_LOG_RATE * 2, _HIGHEST_LOG_RATE))


def _gompertz(
    t: NDArray[np.float64],
    y0: NDArray[np.float64],
    log_alpha: NDArray[np.float64],
    capacity: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    alpha, above = _rate_of(log_alpha), np.logaddexp(0.0, capacity)
    decay = np.exp(-alpha * t)
    slopes = (np.ones_like(decay), above * alpha * t * decay, expit(capacity) * (1 - decay))
    return y0 + above * (1 - decay), np.stack(slopes, axis=-1)


def _reduced_gompertz(
    t: NDArray[np.float64],
    floor: float,
    y0: NDArray[np.float64],
    log_alpha: NDArray[np.float64],
    capacity: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    alpha, top = _rate_of(log_alpha), floor + CAPACITY_RIM * np.logaddexp(0.0, capacity / CAPACITY_RIM)
    decay = np.exp(-alpha * t)
    slopes = (decay, -(y0 - top) * alpha * t * decay, expit(capacity / CAPACITY_RIM) * (1 - decay))
    return top + (y0 - top) * decay, np.stack(slopes, axis=-1)
