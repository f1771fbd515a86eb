"""Gompertz growth of one phantom patient: irregular visits, known rate and capacity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from revoxel.semivae.growth.simulation import CohortSettings, simulate_cohort
from revoxel.semivae.simulation.phantom import Purpose, stream

_SEEDS = 2**31


@dataclass(frozen=True)
class CourseSettings:
    """When patients are seen.

    Args:
        n_visits: Fewest and most visits, drawn evenly.
        span_years: From the first to the last visit.
        noise_sd: Of a log volume around the curve: that of a segmentation.

    Raises:
        ValueError: If a value is out of its range.
    """

    n_visits: tuple[int, int] = (2, 6)
    span_years: float = 5.0
    noise_sd: float = 0.05

    def __post_init__(self) -> None:
        """Refuse impossible courses."""
        fewest, most = self.n_visits
        if not 1 <= fewest <= most:
            msg = f"n_visits must be two rising counts from 1 on, got {self.n_visits}; use (2, 6)."
            raise ValueError(msg)
        if not (0 < self.span_years < np.inf and 0 <= self.noise_sd < np.inf):
            msg = f"span_years must be positive and noise_sd not negative, got {self.span_years:g} and "
            msg += f"{self.noise_sd:g}; use 5 and 0.05."
            raise ValueError(msg)


@dataclass(frozen=True)
class Course:
    """One patient's growth, y(t) = ln K - (ln K - y0) e^(-alpha t).

    Attributes:
        times_years: Of the visits, the first at 0.
        log_volumes: ln mm^3 of the whole tumour as it is drawn, noise included.
        alpha_per_year: Rate.
        log_capacity: ln K in mm^3.
        log_v0: True log volume at the first visit.
    """

    times_years: tuple[float, ...]
    log_volumes: tuple[float, ...]
    alpha_per_year: float
    log_capacity: float
    log_v0: float

    def log_volume(self, time_years: float) -> float:
        """True log volume.

        Args:
            time_years: Since the first visit.
        """
        above = self.log_capacity - self.log_v0
        return self.log_capacity - above * float(np.exp(-self.alpha_per_year * time_years))


def draw_course(seed: int, index: int, settings: CourseSettings, attempt: int = 0) -> Course:
    """Draw one patient from the ranges of the growth simulation.

    Args:
        seed: Of the data set.
        index: Of the patient.
        settings: When the patient is seen.
        attempt: Another number gives another course.
    """
    rng = stream(seed, index, Purpose.COURSE, attempt)
    fewest, most = settings.n_visits
    drawn = simulate_cohort(
        CohortSettings(
            n_patients=1,
            n_visits=int(rng.integers(fewest, most + 1)),
            span_years=settings.span_years,
            noise_sd=settings.noise_sd,
            seed=int(rng.integers(_SEEDS)),
        )
    )
    (record,) = drawn.records
    return Course(
        times_years=tuple(record.times_years.tolist()),
        log_volumes=tuple(record.log_volumes.tolist()),
        alpha_per_year=float(drawn.alpha_per_year[0]),
        log_capacity=float(drawn.log_capacity[0]),
        log_v0=float(drawn.log_v0[0]),
    )
