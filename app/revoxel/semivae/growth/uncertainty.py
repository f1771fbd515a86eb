"""How well a cohort tells its population: draws of mean, covariance and noise that its visits allow.

A fit's variances are estimates from few patients; taken as known, they make prediction intervals too narrow.
Here they are drawn from their posterior by Gibbs sampling of the linear mixed model that touches the fit
(normal mean, inverse-Wishart covariance, inverse-gamma noise; Gelman et al., Bayesian Data Analysis, ch. 15):
the mean with all patients integrated out, then patients, then variances, in many short chains side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.growth.mixed import Population, Prior, WorkingModel, find_posterior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.semivae.growth.records import PaddedVisits

_MOST_CHAINS, _FEWEST_CHAINS = 64, 16
_N_ROUNDS = 20
_SEED = 21


@dataclass(frozen=True, eq=False)
class _Sums:
    """What the linear model needs of every patient's visits."""

    slopes: NDArray[np.float64]
    values: NDArray[np.float64]
    squares: float
    n_visits: int

    @classmethod
    def of(cls, working: WorkingModel) -> _Sums:
        turned = np.swapaxes(working.slopes, -1, -2)
        values = np.einsum("npm,nm->np", turned, working.values)
        return cls(turned @ working.slopes, values, float(np.sum(working.values**2)), working.n_visits)


def draw_populations(fitted: Population, prior: Prior, visits: PaddedVisits) -> Population:
    """Populations that the visits allow.

    Args:
        fitted: By `fit_mixed` on these visits.
        prior: Of that fit.
        visits: Of the patients.

    Returns:
        One population per row; the same in every call.
    """
    rng = np.random.default_rng(_SEED)
    modes = find_posterior(fitted, visits).modes
    sums = _Sums.of(WorkingModel.at(modes, fitted, visits))
    # Many patients leave little unknown and cost much: fewer draws do.
    n_chains = int(np.clip(3200 // len(modes), _FEWEST_CHAINS, _MOST_CHAINS))
    shifts = np.zeros((n_chains, len(fitted.mean)))
    covariance = np.broadcast_to(fitted.covariance, (n_chains, *fitted.covariance.shape))
    variance = np.full(n_chains, float(fitted.noise_sd) ** 2)
    centre = prior.centre.mean - fitted.mean
    for _ in range(_N_ROUNDS):
        shifts, patients = _draw_parameters(rng, sums, (covariance, variance), (centre, prior.precision))
        covariance = _draw_covariance(rng, patients, prior.centre.covariance)
        variance = _draw_variance(rng, sums, shifts, patients, float(prior.centre.noise_sd))
    mean = np.maximum(fitted.mean + shifts, fitted.curve.lowest)
    return replace(fitted, mean=mean, covariance=covariance, noise_sd=np.sqrt(variance))


def _draw_parameters(
    rng: np.random.Generator,
    sums: _Sums,
    spreads: tuple[NDArray[np.float64], NDArray[np.float64]],
    mean_prior: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean `(chain, parameter)`, then deviations `(chain, patient, random)`, from their joint posterior."""
    (covariance, variance), (centre, precision) = spreads, mean_prior
    n_random, noise = covariance.shape[-1], variance[:, None, None]
    cross = sums.slopes[:, :n_random]
    rows = cross.reshape(-1, cross.shape[-1])  # (patient and random, parameter)
    information = cross[..., :n_random] / noise[..., None] + np.linalg.inv(covariance)[:, None]
    spread = np.linalg.inv(information)
    explained = (spread @ cross).reshape(len(noise), *rows.shape) / noise
    normal = (sums.slopes.sum(axis=0) - rows.T @ explained) / noise + precision
    right = sums.values.sum(axis=0) - sums.values[:, :n_random].reshape(-1) @ explained
    right = right / variance[:, None] + precision @ centre
    mean = np.linalg.solve(normal, right[..., None])[..., 0] + _spread_out(rng, np.linalg.inv(normal))
    left = sums.values[:, :n_random] - (mean @ rows.T).reshape(len(noise), *cross.shape[:2])
    patients = (spread @ left[..., None])[..., 0] / noise + _spread_out(rng, spread)
    return mean, patients


def _spread_out(rng: np.random.Generator, covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    root = np.linalg.cholesky((covariance + np.swapaxes(covariance, -1, -2)) / 2)
    return np.asarray((root @ rng.standard_normal((*covariance.shape[:-1], 1)))[..., 0], dtype=np.float64)


def _draw_covariance(
    rng: np.random.Generator, patients: NDArray[np.float64], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Inverse Wishart, by Bartlett's decomposition of its inverse."""
    n_chains, n_patients, n_random = patients.shape
    freedom = n_patients + n_random + 1
    scatter = np.einsum("cnp,cnq->cpq", patients, patients) + prior
    root = np.zeros((n_chains, n_random, n_random))
    below = np.tril_indices(n_random, -1)
    root[:, below[0], below[1]] = rng.standard_normal((n_chains, len(below[0])))
    each = np.arange(n_random)
    root[:, each, each] = np.sqrt(rng.chisquare(freedom - each, (n_chains, n_random)))
    outer = np.linalg.solve(root, np.swapaxes(np.linalg.cholesky(scatter), -1, -2))
    return np.swapaxes(outer, -1, -2) @ outer


def _draw_variance(
    rng: np.random.Generator,
    sums: _Sums,
    mean: NDArray[np.float64],
    patients: NDArray[np.float64],
    prior_sd: float,
) -> NDArray[np.float64]:
    """Inverse gamma, around the squares that mean and patients leave."""
    theta = np.repeat(mean[:, None], patients.shape[1], axis=1)
    theta[..., : patients.shape[-1]] += patients
    fitted = np.swapaxes(theta, 0, 1) @ sums.slopes * np.swapaxes(theta, 0, 1)
    left = sums.squares - 2 * np.einsum("cnp,np->c", theta, sums.values) + fitted.sum(axis=(0, 2))
    return (left.clip(0) + prior_sd**2) / rng.chisquare(sums.n_visits + 1, len(mean))
