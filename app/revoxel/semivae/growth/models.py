"""Ways to forecast a tumour's log volume: fit them on a cohort, forecast a patient with an interval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from revoxel.semivae.growth.curves import Curve, Law
from revoxel.semivae.growth.latent_ode import LatentGrowthODE, as_equation
from revoxel.semivae.growth.mixed import Population, Prior, find_posterior, fit_mixed
from revoxel.semivae.growth.records import GrowthRecord, PaddedVisits
from revoxel.semivae.growth.uncertainty import draw_populations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MIN_PATIENTS = 4
N_DRAWS = 2000
_SEED = 20
#: Rise of the straight line over all visits below which a tumour is taken as flat: about 5 % of its volume.
_FLAT_RISE = 0.05
_START_NOISE_SD = 0.1
#: How far the mean over patients may lie from where a fit starts, in spreads between patients.
_PRIOR_SDS = 2.0


class Model(StrEnum):
    """Which forecast."""

    PERSISTENCE = "persistence"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    GOMPERTZ = "gompertz"
    REDUCED_GOMPERTZ = "reduced_gompertz"
    LATENT_ODE = "latent_ode"


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
        population: Best fit, whose growth law is used.
        prior: Of the fit.
        visits: Of the patients that it was fitted on.
        fallback: The straight line, for a Gompertz law.
    """

    population: Population
    prior: Prior
    visits: PaddedVisits
    fallback: FittedMixed | None = None

    @cached_property
    def populations(self) -> Population:
        """One per row, as far apart as the patients leave them unknown."""
        return draw_populations(self.population, self.prior, self.visits)

    def falls_back(self, record: GrowthRecord) -> bool:
        """Whether the patient is forecast by the straight line."""
        return self.fallback is not None and not is_growing(record)

    def draws(self, record: GrowthRecord, at_years: NDArray[np.float64]) -> NDArray[np.float64]:
        """Possible log volumes, measurement noise included; as of `FittedPersistence`."""
        if self.fallback is not None and not is_growing(record):
            return self.fallback.draws(record, at_years)
        prior = replace(self.populations, curve=self.populations.curve.of_patient(record))
        n_random, n_rows = prior.curve.n_random, len(prior.mean)
        posterior = find_posterior(prior, PaddedVisits.of([record] * n_rows))
        rows = np.arange(N_DRAWS) % (N_DRAWS // 2) % n_rows  # both draws of a pair share their population
        noise = _normal(n_random + len(at_years))
        theta = posterior.modes[rows]
        roots = np.linalg.cholesky(posterior.covariance)[rows]
        theta[:, :n_random] += np.einsum("dpq,dq->dp", roots, noise[:, :n_random])
        value, _ = prior.curve(at_years - record.times_years[0], theta)
        return value + prior.noise_sd[rows, None] * noise[:, n_random:]

    def described(self) -> dict[str, float]:
        """Parameters for the report: medians over patients, spreads on the scale of the model."""
        population, curve = self.population, self.population.curve
        plain = dict(zip(curve.names, population.mean.tolist(), strict=True))
        spread = np.sqrt(np.diag(population.covariance))
        words = {f"sd_{name}": float(sd) for name, sd in zip(curve.names, spread, strict=False)}
        if isinstance(curve, Curve) and curve.has_capacity:
            alpha, capacity = population_medians(population)
            plain |= {"median_alpha_per_year": alpha, "median_k_mm3": capacity}
        n_patients = float(len(self.visits.exists))
        return plain | words | {"noise_sd": float(population.noise_sd), "n_patients": n_patients}


Fitted = FittedPersistence | FittedMixed


def population_medians(population: Population) -> tuple[float, float]:
    """Median rate and capacity over patients.

    Args:
        population: Of a Gompertz law.

    Returns:
        alpha per year and K in mm^3.
    """
    curve = population.curve
    if not isinstance(curve, Curve):
        msg = f"population must follow a Gompertz law in closed form, got {type(curve).__name__}; fit one."
        raise ValueError(msg)  # noqa: TRY004 a wrong value for a caller: which model was fitted
    theta = np.tile(population.mean, (N_DRAWS, 1))
    theta[:, : curve.n_random] += _normal(curve.n_random) @ np.linalg.cholesky(population.covariance).T
    return float(np.exp(population.mean[1])), float(np.exp(np.median(curve.log_capacity(theta))))


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
        ValueError: If too few patients have two visits, or grow, for the model.
    """
    model = Model(model)
    usable = [record for record in records if record.n_visits >= 2]
    _check_enough(usable, "two visits or more", model)
    if model is Model.PERSISTENCE:
        return _fit_persistence(usable)
    if model in {Model.EXPONENTIAL, Model.LINEAR}:
        return _fit(Curve(Law(model)), usable)
    growing = [record for record in usable if is_growing(record)]
    _check_enough(growing, "a growing tumour", model)
    fallback = _fit(Curve(Law.EXPONENTIAL), usable)
    floor = max(float(record.log_volumes.max()) for record in records)
    if model is Model.LATENT_ODE:
        return _fit_equation(growing, floor, fallback)
    return _fit(Curve(Law(model), floor), growing, fallback)


def _check_enough(records: Sequence[GrowthRecord], words: str, model: Model) -> None:
    if len(records) < MIN_PATIENTS:
        msg = (
            f"{model} must be fitted on at least {MIN_PATIENTS} patients with {words}, got {len(records)}; "
            "add patients or use another model."
        )
        raise ValueError(msg)


def _fit(curve: Curve, records: Sequence[GrowthRecord], fallback: FittedMixed | None = None) -> FittedMixed:
    prior, visits = _prior(curve, records), PaddedVisits.of(records)
    return FittedMixed(fit_mixed(prior, visits), prior, visits, fallback)


def _fit_equation(records: Sequence[GrowthRecord], floor: float, fallback: FittedMixed) -> FittedMixed:
    """The latent equation, from the reduced Gompertz on: its correction begins at nothing."""
    gompertz = _fit(Curve(Law.REDUCED_GOMPERTZ, floor), records)
    # One standard deviation of the prior: as much as the Gompertz term one e-fold below K.
    curve = LatentGrowthODE.of(records, floor, eps_per_year=float(np.exp(gompertz.population.mean[1])))
    prior = Prior(as_equation(gompertz.prior.centre, curve), np.ones(len(curve.names)))
    prior.mean_sd[: len(gompertz.prior.mean_sd)] = gompertz.prior.mean_sd
    fitted = fit_mixed(prior, gompertz.visits, as_equation(gompertz.population, curve))
    return FittedMixed(fitted, prior, gompertz.visits, fallback)


def _prior(curve: Curve, records: Sequence[GrowthRecord]) -> Prior:
    first = np.array([record.log_volumes[0] for record in records])
    span_years = float(np.median([record.since_first_years[-1] for record in records]))
    sds = [max(float(first.std()), 0.3), 0.5, 0.5]
    if curve.law in {Law.LINEAR, Law.EXPONENTIAL}:
        rise = float(np.median([record.log_volumes[-1] - record.log_volumes[0] for record in records]))
        total = float(np.expm1(rise).clip(-0.5, 20)) if curve.law is Law.LINEAR else rise
        mean = [first.mean(), total / span_years]
        sds[1] = max(abs(mean[1]) / 2, 0.05)
    else:
        mean = [first.mean(), np.log(2.0 / span_years), 1.5]
    covariance = np.diag(np.square(sds[: curve.n_random]))
    centre = Population(curve, np.array(mean), covariance, np.array(_START_NOISE_SD))
    return Prior(centre, _PRIOR_SDS * np.array(sds[: len(mean)]))


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


def _normal(n_columns: int) -> NDArray[np.float64]:
    """Normal draws in pairs of opposite sign, the same in every call: forecasts are reproducible."""
    half = np.random.default_rng(_SEED).standard_normal((N_DRAWS // 2, n_columns))
    return np.concatenate((half, -half))
