"""Cohorts of Gompertz tumours whose rates and capacities are known, for tests and demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.growth.records import GrowthRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CohortSettings:
    """What is simulated.

    Args:
        n_patients: How many.
        n_visits: Of each patient, the first and last `span_years` apart.
        span_years: Length of follow-up.
        noise_sd: Of a log volume.
        one_capacity: Give all patients one K, as the reduced Gompertz assumes.
        alpha_span: Median of alpha times the span: about 3 sees tumours slow down, 1 sees them set out.
        location_effect: Rise of ln alpha over one standard deviation of a coordinate of the place, which only
            the latent knows; 0 gives latents that tell nothing, None gives none.
        seed: Of everything random.
    """

    n_patients: int = 200
    n_visits: int = 6
    span_years: float = 5.0
    noise_sd: float = 0.05
    one_capacity: bool = False
    alpha_span: float = 3.0
    location_effect: float | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SimulatedCohort:
    """Records with their truth.

    Attributes:
        records: One per patient.
        alpha_per_year: `(patient,)`; times the span, half to twice `alpha_span` before an effect of location.
        log_capacity: `(patient,)` ln K; K over the first volume lies in 5 to 30.
        log_v0: `(patient,)` true log volume at the first visit.
    """

    records: list[GrowthRecord]
    alpha_per_year: NDArray[np.float64]
    log_capacity: NDArray[np.float64]
    log_v0: NDArray[np.float64]


def simulate_cohort(settings: CohortSettings | None = None) -> SimulatedCohort:
    """Draw patients and their visits.

    Args:
        settings: How many, how long, how noisy.

    Returns:
        The cohort; irregular visits, log-normal rates and ratios K / V0, cut to their ranges.
    """
    settings = settings or CohortSettings()
    rng = np.random.default_rng(settings.seed)
    n = settings.n_patients
    growth = np.exp(rng.normal(np.log(3.0), 0.35, n)).clip(1.5, 6.0) * settings.alpha_span / 3.0
    above = rng.normal(np.log(12.0), 0.35, n).clip(np.log(5), np.log(30))
    log_capacity = np.full(n, np.log(4e4)) if settings.one_capacity else rng.normal(np.log(4e4), 0.7, n)
    log_v0 = log_capacity - above
    inner = np.sort(rng.uniform(0.08, 0.92, (n, max(settings.n_visits - 2, 0))), axis=1)
    inner += np.linspace(0, 1e-3, inner.shape[1])  # two visits never on one day
    latents, shift = _latents(settings)
    alpha = growth * np.exp(shift) / settings.span_years
    ends = np.zeros((n, 1)), np.ones((n, min(settings.n_visits - 1, 1)))
    times = np.concatenate((ends[0], inner, ends[1]), axis=1) * settings.span_years
    values = log_capacity[:, None] - above[:, None] * np.exp(-alpha[:, None] * times)
    values += settings.noise_sd * rng.standard_normal(values.shape)
    records = [GrowthRecord(f"p{row:03d}", times[row], values[row], latents[row]) for row in range(n)]
    return SimulatedCohort(records, alpha, log_capacity, log_v0)


def _latents(
    settings: CohortSettings,
) -> tuple[list[dict[str, NDArray[np.float64]] | None], NDArray[np.float64]]:
    """What a network may say of every patient, and how that moves ln alpha."""
    n = settings.n_patients
    if settings.location_effect is None:
        return [None] * n, np.zeros(n)
    # The way from places to latents is the network's: the same in every cohort.
    mixing = np.random.default_rng(0).standard_normal((3, 12))
    rng = np.random.default_rng((settings.seed, 1))
    place = rng.standard_normal((n, 3))
    location = place @ mixing + 0.3 * rng.standard_normal((n, 12))
    shape = rng.standard_normal((n, 24))
    return [
        {"loc": location[row], "shape": shape[row]} for row in range(n)
    ], settings.location_effect * place[:, 0]
