"""Five ways to forecast a tumour's log volume: fit them on a cohort, forecast a patient with an interval."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from revoxel.semivae.growth.curves import Curve, Law
from revoxel.semivae.growth.mixed import Population, find_posterior, fit_mixed
from revoxel.semivae.growth.records import GrowthRecord, PaddedVisits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIN_PATIENTS = 4
N_DRAWS = 2000
_SEED = 20
#: Rise of the straight line over all visits below which a tumour is taken as flat: about 5 % of its volume.
_FLAT_RISE = 0.05
_START_NOISE_SD = 0.1


class Model(StrEnum):
    """Which forecast."""

    PERSISTENCE = "persistence"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    GOMPERTZ = "gompertz"
    REDUCED_GOMPERTZ = "reduced_gompertz"


@dataclass(frozen=True)
class FittedPersistence:
    """The last volume stays; uncertainty of a noisy random walk.

    Attributes:
        noise_sd: Of a visit's log volume.
        drift_sd: Of the change of log volume in a year.
    """

    noise_sd: float
    drift_sd: float

    def draws(self, record: GrowthRecord, at_years: NDArray[np.float64]) -> NDArray[np.float64]:
        """Possible log volumes, measurement noise included.

        Args:
            record: The patient's visits.
            at_years: `(time,)` on the patient's clock, after the last visit.

        Returns:
            `(draw, time)`.
        """
        ahead_years = at_years - record.times_years[-1]
        spread = np.sqrt(2 * self.noise_sd**2 + self.drift_sd**2 * ahead_years)
        return record.log_volumes[-1] + spread * _normal(len(at_years))

    def described(self) -> dict[str, float]:
        """Parameters for the report."""
        return {"noise_sd": self.noise_sd, "drift_sd_per_sqrt_year": self.drift_sd}


@dataclass(frozen=True, eq=False)
class FittedMixed:
    """A mixed model; a tumour that does not grow is forecast by the straight line in log volume instead.

    Attributes:
        population: Of the growth law.
        fallback: The straight line, for a Gompertz law.
    """

    population: Population
    fallback: FittedMixed | None = None

    def falls_back(self, record: GrowthRecord) -> bool:
        """Whether the patient is forecast by the straight line."""
        return self.fallback is not None and not is_growing(record)

    def draws(self, record: GrowthRecord, at_years: NDArray[np.float64]) -> NDArray[np.float64]:
        """Possible log volumes, measurement noise included; as of `FittedPersistence`."""
        if self.fallback is not None and not is_growing(record):
            return self.fallback.draws(record, at_years)
        n_random = self.population.curve.n_random
        prior = self._prior(record)
        posterior = find_posterior(prior, PaddedVisits.of([record]))
        root = np.linalg.cholesky(posterior.covariance[0])
        noise = _normal(n_random + len(at_years))
        theta = np.tile(posterior.modes[0], (len(noise), 1))
        theta[:, :n_random] += noise[:, :n_random] @ root.T
        value, _ = prior.curve(at_years - record.times_years[0], theta)
        return value + prior.noise_sd * noise[:, n_random:]

    def _prior(self, record: GrowthRecord) -> Population:
        """What is known before the patient's visits: the mean itself is known as well as n patients allow."""
        population = self.population
        floor = max(population.curve.floor, float(record.log_volumes.max()))
        curve = replace(population.curve, floor=floor)
        return replace(
            population, curve=curve, covariance=population.covariance * (1 + 1 / population.n_patients)
        )

    def described(self) -> dict[str, float]:
        """Parameters for the report: medians over patients, spreads on the scale of the model."""
        population, curve = self.population, self.population.curve
        plain = dict(zip(curve.names, population.mean.tolist(), strict=True))
        spread = np.sqrt(np.diag(population.covariance))
        words = {f"sd_{name}": float(sd) for name, sd in zip(curve.names, spread, strict=False)}
        if curve.law in {Law.GOMPERTZ, Law.REDUCED_GOMPERTZ}:
            alpha, capacity = population_medians(population)
            plain |= {"median_alpha_per_year": alpha, "median_k_mm3": capacity}
        return plain | words | {"noise_sd": population.noise_sd, "n_patients": float(population.n_patients)}


Fitted = FittedPersistence | FittedMixed


def population_medians(population: Population) -> tuple[float, float]:
    """Median rate and capacity over patients.

    Args:
        population: Of a Gompertz law.

    Returns:
        alpha per year and K in mm^3.
    """
    theta = np.tile(population.mean, (N_DRAWS, 1))
    n_random = population.curve.n_random
    theta[:, :n_random] += _normal(n_random) @ np.linalg.cholesky(population.covariance).T
    return float(np.exp(population.mean[1])), float(np.exp(np.median(population.curve.log_capacity(theta))))


def is_growing(record: GrowthRecord) -> bool:
    """Whether a straight line through the log volumes rises by more than 5 %; unknown from one visit: yes.

    Args:
        record: The patient's visits.
    """
    if record.n_visits < 2:
        return True
    times = record.since_first_years
    return bool(np.polyfit(times, record.log_volumes, 1)[0] * times[-1] > _FLAT_RISE)


def fit_population(model: Model | str, records: Sequence[GrowthRecord]) -> Fitted:
    """Fit one model on a cohort; patients with one visit tell nothing about growth and are left out.

    Args:
        model: Which.
        records: Training patients.

    Returns:
        Ready to forecast.

    Raises:
        ValueError: If too few patients have two visits, or grow, for the model; or statsmodels is missing.
    """
    model = Model(model)
    usable = [record for record in records if record.n_visits >= 2]
    _check_enough(usable, "two visits or more", model)
    if model is Model.PERSISTENCE:
        return _fit_persistence(usable)
    if model is Model.EXPONENTIAL:
        return FittedMixed(_fit_straight(usable))
    if model is Model.LINEAR:
        return FittedMixed(fit_mixed(_start(Curve(Law.LINEAR), usable), PaddedVisits.of(usable)))
    growing = [record for record in usable if is_growing(record)]
    _check_enough(growing, "a growing tumour", model)
    floor = max(float(record.log_volumes.max()) for record in records)
    start = _start(Curve(Law(model), floor), growing)
    return FittedMixed(fit_mixed(start, PaddedVisits.of(growing)), FittedMixed(_fit_straight(usable)))


def _check_enough(records: Sequence[GrowthRecord], words: str, model: Model) -> None:
    if len(records) < MIN_PATIENTS:
        msg = (
            f"{model} must be fitted on at least {MIN_PATIENTS} patients with {words}, got {len(records)}; "
            "add patients or use another model."
        )
        raise ValueError(msg)


def _start(curve: Curve, records: Sequence[GrowthRecord]) -> Population:
    first = np.array([record.log_volumes[0] for record in records])
    span_years = float(np.median([record.since_first_years[-1] for record in records]))
    variances = [max(float(first.var()), 0.1), 0.25, 0.25][: curve.n_random]
    if curve.law is Law.LINEAR:
        rise = [record.log_volumes[-1] - record.log_volumes[0] for record in records]
        mean = [first.mean(), float(np.expm1(np.median(rise)).clip(-0.5, 20)) / span_years]
        variances[1] = max(mean[1] ** 2, 0.05**2)
    else:
        mean = [first.mean(), np.log(2.0 / span_years), 1.5]
    return Population(curve, np.array(mean), np.diag(variances), _START_NOISE_SD, len(records))


def _fit_persistence(records: Sequence[GrowthRecord]) -> FittedPersistence:
    """Likelihood of the changes between visits, taken as independent, of variance 2 noise^2 + drift^2 dt."""
    change = np.concatenate([np.diff(record.log_volumes) for record in records])
    years = np.concatenate([np.diff(record.times_years) for record in records])

    def cost(logs: NDArray[np.float64]) -> float:
        variance = 2 * np.exp(2 * logs[0]) + np.exp(2 * logs[1]) * years
        return float(np.sum(np.log(variance) + change**2 / variance))

    bounds = [(np.log(1e-3), np.log(5.0))] * 2
    noise_sd, drift_sd = np.exp(minimize(cost, np.log([0.1, 0.3]), bounds=bounds, method="L-BFGS-B").x)
    return FittedPersistence(float(noise_sd), float(drift_sd))


def _fit_straight(records: Sequence[GrowthRecord]) -> Population:
    """Random intercept and slope of the log volume, by restricted maximum likelihood."""
    values = np.concatenate([record.log_volumes for record in records])
    times = np.concatenate([record.since_first_years for record in records])
    groups = np.repeat(np.arange(len(records)), [record.n_visits for record in records])
    design = np.column_stack((np.ones_like(times), times))
    model = _mixed_lm()(values, design, groups, exog_re=design)
    with warnings.catch_warnings():
        # Few visits put variances on the edge of what is possible; the floor below makes them usable.
        warnings.simplefilter("ignore")
        result = model.fit(reml=True, method=["lbfgs", "powell"])
    covariance = np.asarray(result.cov_re, dtype=np.float64)
    covariance = (covariance + covariance.T) / 2 + np.diag([1e-4, 1e-4])
    mean = np.asarray(result.fe_params, dtype=np.float64)
    noise_sd = float(np.sqrt(max(result.scale, 1e-6)))
    return Population(Curve(Law.EXPONENTIAL), mean, covariance, noise_sd, len(records))


def _mixed_lm() -> Any:
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError as error:
        msg = "the linear mixed model must have statsmodels, got none; pip install 'revoxel[growth]'."
        raise ValueError(msg) from error
    return MixedLM


def _normal(n_columns: int) -> NDArray[np.float64]:
    """Normal draws in pairs of opposite sign, the same in every call: forecasts are reproducible."""
    half = np.random.default_rng(_SEED).standard_normal((N_DRAWS // 2, n_columns))
    return np.concatenate((half, -half))
