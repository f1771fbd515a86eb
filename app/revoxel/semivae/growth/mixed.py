"""Nonlinear mixed models by linearisation at each patient's posterior mode.

Patient i has parameters theta_i ~ N(mean, covariance) and visits y = f(t, theta_i) + noise. One round
finds the modes (damped Gauss-Newton), linearises there, updates the mean by generalised least squares
(Lindstrom and Bates, Biometrics 1990) and the variances by the EM step of the linear mixed model, in which
a patient's posterior is normal (Laplace's approximation). All patients are one block of arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.semivae.growth.curves import GrowthCurve
    from revoxel.semivae.growth.records import PaddedVisits

_MOST_ROUNDS = 150
_TOLERANCE = 2e-3
_MOST_STEPS = 30
_STEPS_PER_ROUND = 3  # modes move on with the population: each round begins where the last one left them
_STEP_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class Population:
    """Parameters of all patients together, or one such set per row.

    Attributes:
        curve: Growth law.
        mean: `(parameter,)` or `(row, parameter)`; those behind the random ones are equal in all patients.
        covariance: `(random, random)` between patients, or `(row, random, random)`.
        noise_sd: Of a visit's log volume, `()` or `(row,)`.
    """

    curve: GrowthCurve
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    noise_sd: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prior:
    """What is believed before any visit is seen.

    Attributes:
        centre: Likely population; its covariance counts as one further patient and its noise as one further
            visit, since a few visits cannot tell them all.
        mean_sd: `(parameter,)` how far from the centre's the mean may lie.
    """

    centre: Population
    mean_sd: NDArray[np.float64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """`(parameter, parameter)` of the mean."""
        return np.diag(self.mean_sd**-2.0)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of each patient.

    Attributes:
        modes: `(patient, parameter)`.
        covariance: `(patient, random, random)` around the modes.
    """

    modes: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WorkingModel:
    """The linear mixed model that touches the curves at the modes; absent visits are zero rows.

    Attributes:
        values: `(patient, visit)`, what slopes times (parameters - population mean) should give.
        slopes: `(patient, visit, parameter)`.
        n_visits: How many there are.
    """

    values: NDArray[np.float64]
    slopes: NDArray[np.float64]
    n_visits: int

    @classmethod
    def at(cls, modes: NDArray[np.float64], population: Population, visits: PaddedVisits) -> WorkingModel:
        """Linearise.

        Args:
            modes: `(patient, parameter)`.
            population: Whose mean is the origin.
            visits: Of the patients.
        """
        residual, slopes = _misfit(population.curve, visits, modes)
        values = residual + np.einsum("nmp,np->nm", slopes, modes - population.mean)
        return cls(values, slopes, int(visits.exists.sum()))


def find_posterior(
    population: Population,
    visits: PaddedVisits,
    start: NDArray[np.float64] | None = None,
    most_steps: int = _MOST_STEPS,
) -> Posterior:
    """Mode and spread of every patient's parameters, given the population and the visits.

    Args:
        population: The prior of all patients, or one row for each.
        visits: Of the patients.
        start: `(patient, parameter)` to begin at; default: the population's mean.
        most_steps: Of the search.

    Returns:
        Modes and the inverse of the Gauss-Newton curvature there.
    """
    n_random, n_patients = population.curve.n_random, len(visits.exists)
    mean = np.broadcast_to(population.mean, (n_patients, population.mean.shape[-1]))
    theta = (mean if start is None else start).copy()
    theta[:, n_random:] = mean[:, n_random:]
    precision = np.broadcast_to(_inverse(population.covariance), (n_patients, n_random, n_random))
    variance = np.broadcast_to(population.noise_sd, n_patients) ** 2.0
    damping = np.full(n_patients, 1e-3)

    def at(
        tried: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Minus the log posterior, its gradient and curvature."""
        residual, slopes = _misfit(population.curve, visits, tried)
        random, pull = slopes[..., :n_random], tried[:, :n_random] - mean[:, :n_random]
        pulled = np.einsum("npq,nq->np", precision, pull)
        cost = 0.5 * (np.sum(residual**2, axis=1) / variance + np.sum(pulled * pull, axis=1))
        uphill = np.einsum("nmp,nm->np", random, residual) / variance[:, None] - pulled
        return cost, uphill, _turned(random) @ random / variance[:, None, None] + precision

    cost, uphill, information = at(theta)
    for _ in range(most_steps):
        damped = information * (1 + damping[:, None, None] * np.eye(n_random))
        step = np.linalg.solve(damped, uphill[..., None])[..., 0]
        tried = theta.copy()
        tried[:, :n_random] += step
        tried_cost, tried_uphill, tried_information = at(tried)
        better = tried_cost <= cost
        theta[better], cost[better] = tried[better], tried_cost[better]
        uphill[better], information[better] = tried_uphill[better], tried_information[better]
        damping = np.where(better, damping * 0.2, damping * 8).clip(1e-9, 1e9)
        if np.abs(np.where(better[:, None], step, 0)).max() < _STEP_TOLERANCE and better.any():
            break
    return Posterior(theta, _inverse(information))


def fit_mixed(prior: Prior, visits: PaddedVisits, start: Population | None = None) -> Population:
    """Estimate mean, covariance and noise.

    Args:
        prior: What to lean on.
        visits: Of the patients, two or more each for most.
        start: Where to begin; default: the prior's centre.

    Returns:
        The population.
    """
    population, modes = start or prior.centre, None
    for _ in range(_MOST_ROUNDS):
        most_steps = _MOST_STEPS if modes is None else _STEPS_PER_ROUND
        found = find_posterior(population, visits, modes, most_steps).modes
        following, modes = _one_round(population, WorkingModel.at(found, population, visits), prior)
        moved = _distance(population, following)
        population = following
        if moved < _TOLERANCE:
            break
    return population


def _one_round(
    population: Population, working: WorkingModel, prior: Prior
) -> tuple[Population, NDArray[np.float64]]:
    n_random, variance = population.curve.n_random, float(population.noise_sd**2)
    random = working.slopes[..., :n_random]
    between = random @ population.covariance @ _turned(random)
    weighted = np.linalg.solve(between + variance * np.eye(random.shape[1]), working.slopes)
    normal = np.einsum("nmp,nmq->pq", working.slopes, weighted) + prior.precision
    right = np.einsum("nmp,nm->p", weighted, working.values)
    right += prior.precision @ (prior.centre.mean - population.mean)
    shift = np.linalg.solve(normal, right)
    left = working.values - working.slopes @ shift
    spread = _inverse(_turned(random) @ random / variance + _inverse(population.covariance))
    deviation = np.einsum("npq,nmq,nm->np", spread, random, left) / variance
    residual = left - np.einsum("nmp,np->nm", random, deviation)
    scatter = np.einsum("np,nq->pq", deviation, deviation) + spread.sum(axis=0)
    doubt = np.einsum("nmp,npq,nmq->", random, spread, random)
    mean = np.maximum(population.mean + shift, population.curve.lowest)
    following = replace(
        population,
        mean=mean,
        covariance=(scatter + prior.centre.covariance) / (len(deviation) + 1),
        noise_sd=np.sqrt((np.sum(residual**2) + doubt + prior.centre.noise_sd**2) / (working.n_visits + 1)),
    )
    modes = np.tile(mean, (len(deviation), 1))
    modes[:, :n_random] += deviation
    return following, modes


def _misfit(
    curve: GrowthCurve, visits: PaddedVisits, theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    value, slopes = curve(visits.times_years, theta)
    return (visits.log_volumes - value) * visits.exists, slopes * visits.exists[..., None]


def _inverse(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def _turned(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.swapaxes(matrices, -1, -2)


def _distance(first: Population, second: Population) -> float:
    """Largest move of a mean in units of its spread, or of a spread as a share."""
    scale = np.ones_like(first.mean)
    scale[: first.curve.n_random] = np.sqrt(np.diag(first.covariance))
    spread = np.log(np.diag(second.covariance) / np.diag(first.covariance)) / 2
    noise = np.log(second.noise_sd / first.noise_sd)
    return float(max(np.abs((second.mean - first.mean) / scale).max(), np.abs(spread).max(), abs(noise)))
