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

    from revoxel.semivae.growth.curves import Curve
    from revoxel.semivae.growth.records import PaddedVisits

_MOST_ROUNDS = 150
_TOLERANCE = 2e-3
_MOST_STEPS = 30
_STEP_TOLERANCE = 1e-5
_LOWEST_SHARED = -5.0
_PRIOR_PATIENTS = 1.0  # weight of the starting covariance: a few visits cannot tell all of its entries


@dataclass(frozen=True, eq=False)
class Population:
    """Parameters of all patients together.

    Attributes:
        curve: Growth law.
        mean: `(parameter,)`; those behind the random ones are equal in all patients.
        covariance: `(random, random)` between patients.
        noise_sd: Of a visit's log volume.
        n_patients: That it was fitted on.
    """

    curve: Curve
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    noise_sd: float
    n_patients: int


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
class _Linear:
    """Residuals and derivatives at the modes, zero where there is no visit."""

    residual: NDArray[np.float64]
    slopes: NDArray[np.float64]
    information: NDArray[np.float64]


def find_posterior(
    population: Population, visits: PaddedVisits, start: NDArray[np.float64] | None = None
) -> Posterior:
    """Mode and spread of every patient's parameters, given the population and the visits.

    Args:
        population: The prior.
        visits: Of the patients.
        start: `(patient, parameter)` to begin at; default: the population's mean.

    Returns:
        Modes and the inverse of the Gauss-Newton curvature there.
    """
    n_random = population.curve.n_random
    theta = np.tile(population.mean, (len(visits.exists), 1)) if start is None else start.copy()
    theta[:, n_random:] = population.mean[n_random:]
    precision = _inverse(population.covariance)
    damping = np.full(len(theta), 1e-3)
    cost = _cost(population, visits, theta, precision)
    for _ in range(_MOST_STEPS):
        linear = _linearise(population, visits, theta, precision)
        gradient = np.einsum("nmp,nm->np", linear.slopes[..., :n_random], linear.residual)
        gradient = (
            gradient / population.noise_sd**2 - (theta[:, :n_random] - population.mean[:n_random]) @ precision
        )
        damped = linear.information * (1 + damping[:, None, None] * np.eye(n_random))
        step = np.linalg.solve(damped, gradient[..., None])[..., 0]
        tried = theta.copy()
        tried[:, :n_random] += step
        tried_cost = _cost(population, visits, tried, precision)
        better = tried_cost <= cost
        theta[better], cost[better] = tried[better], tried_cost[better]
        damping = np.where(better, damping * 0.2, damping * 8).clip(1e-9, 1e9)
        if np.abs(np.where(better[:, None], step, 0)).max() < _STEP_TOLERANCE and better.any():
            break
    information = _linearise(population, visits, theta, precision).information
    return Posterior(theta, _inverse(information))


def fit_mixed(start: Population, visits: PaddedVisits) -> Population:
    """Estimate mean, covariance and noise.

    Args:
        start: Where to begin; its covariance counts as one further patient.
        visits: Of the patients, two or more each for most.

    Returns:
        The population.
    """
    population, modes = start, None
    for _ in range(_MOST_ROUNDS):
        posterior = find_posterior(population, visits, modes)
        following, modes = _one_round(population, visits, posterior, start.covariance)
        moved = _distance(population, following)
        population = following
        if moved < _TOLERANCE:
            break
    return population


def _one_round(
    population: Population, visits: PaddedVisits, posterior: Posterior, prior: NDArray[np.float64]
) -> tuple[Population, NDArray[np.float64]]:
    n_random, noise = population.curve.n_random, population.noise_sd**2
    precision = _inverse(population.covariance)
    linear = _linearise(population, visits, posterior.modes, precision)
    random = linear.slopes[..., :n_random]
    deviation = posterior.modes[:, :n_random] - population.mean[:n_random]
    working = linear.residual + np.einsum("nmp,np->nm", random, deviation)
    shift = _least_squares(working, linear.slopes, random @ population.covariance @ _turned(random), noise)
    left = working - linear.slopes @ shift
    spread = _inverse(linear.information)
    deviation = np.einsum("npq,nmq,nm->np", spread, random, left) / noise
    residual = left - np.einsum("nmp,np->nm", random, deviation)
    scatter = np.einsum("np,nq->pq", deviation, deviation) + spread.sum(axis=0)
    doubt = np.einsum("nmp,npq,nmq->", random, spread, random)
    n_patients = len(deviation)
    mean = population.mean + shift
    # Data that want the shared capacity at its floor would drive it to minus infinity.
    mean[n_random:] = np.maximum(mean[n_random:], _LOWEST_SHARED)
    following = replace(
        population,
        mean=mean,
        covariance=(scatter + _PRIOR_PATIENTS * prior) / (n_patients + _PRIOR_PATIENTS),
        noise_sd=float(np.sqrt((np.sum(residual**2) + doubt) / visits.exists.sum())),
        n_patients=n_patients,
    )
    modes = np.tile(mean, (n_patients, 1))
    modes[:, :n_random] += deviation
    return following, modes


def _linearise(
    population: Population, visits: PaddedVisits, theta: NDArray[np.float64], precision: NDArray[np.float64]
) -> _Linear:
    value, slopes = population.curve(visits.times_years, theta)
    residual = (visits.log_volumes - value) * visits.exists
    slopes = slopes * visits.exists[..., None]
    random = slopes[..., : population.curve.n_random]
    return _Linear(residual, slopes, _turned(random) @ random / population.noise_sd**2 + precision)


def _cost(
    population: Population, visits: PaddedVisits, theta: NDArray[np.float64], precision: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minus the log posterior of every patient, up to a constant."""
    value, _ = population.curve(visits.times_years, theta)
    misfit = np.sum(visits.exists * (visits.log_volumes - value) ** 2, axis=1) / population.noise_sd**2
    n_random = population.curve.n_random
    deviation = theta[:, :n_random] - population.mean[:n_random]
    return 0.5 * (misfit + np.einsum("np,pq,nq->n", deviation, precision, deviation))


def _least_squares(
    working: NDArray[np.float64], slopes: NDArray[np.float64], between: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """Shift of the mean by generalised least squares; absent visits have zero rows and add nothing."""
    weights = _inverse(between + noise * np.eye(working.shape[1]))
    normal = np.einsum("nmp,nmk,nkq->pq", slopes, weights, slopes)
    right = np.einsum("nmp,nmk,nk->p", slopes, weights, working)
    return np.asarray(np.linalg.lstsq(normal, right, rcond=1e-10)[0], dtype=np.float64)


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
