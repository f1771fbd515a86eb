"""How good forecasts of log volume are: R2, MAE, CRPS, coverage; and whether one beats another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERVAL = (2.5, 97.5)
_N_RESAMPLES = 2000


@dataclass(frozen=True)
class ForecastScores:
    """Scores over patients, log volume.

    Attributes:
        n_patients: Scored.
        r2: Of the median forecast.
        mae: Mean absolute error of the median forecast; 0.1 is about 10 % of volume.
        crps: Mean continuous ranked probability score; lower is better.
        coverage: Share of truths inside the 95 % prediction interval.
        interval_width: Mean width of that interval.
    """

    n_patients: int
    r2: float
    mae: float
    crps: float
    coverage: float
    interval_width: float


def crps(draws: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continuous ranked probability score, E|X - y| - E|X - X'| / 2 (Gneiting and Raftery, JASA 2007).

    Args:
        draws: `(draw, forecast)`.
        truth: `(forecast,)`.

    Returns:
        `(forecast,)`, in the units of the draws.
    """
    n_draws = len(draws)
    weights = (2 * np.arange(1, n_draws + 1) - n_draws - 1) / (n_draws * (n_draws - 1))
    between = np.einsum("d,df->f", weights, np.sort(draws, axis=0))
    return np.abs(draws - truth).mean(axis=0) - between


def score_forecasts(draws: NDArray[np.float64], truth: NDArray[np.float64]) -> ForecastScores:
    """Score one forecast per patient.

    Args:
        draws: `(draw, patient)`.
        truth: `(patient,)`.

    Returns:
        The scores; R2 is NaN where the truths do not vary.
    """
    low, middle, high = np.percentile(draws, (INTERVAL[0], 50.0, INTERVAL[1]), axis=0)
    spread = float(np.sum((truth - truth.mean()) ** 2))
    return ForecastScores(
        n_patients=len(truth),
        r2=1 - float(np.sum((truth - middle) ** 2)) / spread if spread > 0 else float("nan"),
        mae=float(np.abs(truth - middle).mean()),
        crps=float(crps(draws, truth).mean()),
        coverage=float(((low <= truth) & (truth <= high)).mean()),
        interval_width=float((high - low).mean()),
    )


def difference_interval(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Mean difference of two scores with its 95 % interval by resampling patients.

    Args:
        first: `(patient,)`.
        second: `(patient,)`, of the same patients.

    Returns:
        Mean of `first - second`, its low and high end.
    """
    change = first - second
    picks = np.random.default_rng(0).integers(0, len(change), (_N_RESAMPLES, len(change)))
    low, high = np.percentile(change[picks].mean(axis=1), INTERVAL)
    return float(change.mean()), float(low), float(high)
