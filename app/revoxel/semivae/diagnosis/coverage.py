"""How well the training patients fill the latent space: distance to their bank, and what lies between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2
from sklearn.covariance import LedoitWolf

from revoxel.semivae.diagnosis.encoding import reencode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.semivae.network.semivae import SemiVAE

    Numbers = NDArray[np.float64]

_INSIDE = 0.99


@dataclass(frozen=True, eq=False)
class LatentBank:
    """Where the latents of the training patients lie.

    Args:
        mean: `(latent,)`.
        covariance: `(latent, latent)`, positive definite.

    Raises:
        ValueError: If the shapes disagree or the covariance is not positive definite.
    """

    mean: Numbers
    covariance: Numbers

    def __post_init__(self) -> None:
        """Refuse a bank without distances."""
        fits = self.covariance.shape == (len(self.mean), len(self.mean))
        if not fits or np.linalg.eigvalsh(self.covariance).min() <= 0:
            msg = (
                f"covariance must be ({len(self.mean)}, {len(self.mean)}) and positive definite, got "
                f"{self.covariance.shape}; fit the bank on more scans."
            )
            raise ValueError(msg)

    @classmethod
    def fit(cls, mu: Numbers) -> LatentBank:
        """Mean and covariance of latents, shrunk as Ledoit and Wolf (2004): fewer scans than latents will do.

        Args:
            mu: `(scan, latent)` of the training patients.

        Raises:
            ValueError: If there are fewer than 2 scans, or all are the same.
        """
        if len(mu) < 2:
            msg = f"a bank needs at least 2 scans, got {len(mu)}; encode the training patients."
            raise ValueError(msg)
        fitted = LedoitWolf().fit(mu)
        return cls(fitted.location_, fitted.covariance_)

    def distances(self, mu: Numbers) -> Numbers:
        """Mahalanobis distances to the bank's mean.

        Args:
            mu: `(scan, latent)`.

        Returns:
            `(scan,)`; about the root of the number of latents for scans like those of the bank.
        """
        away = mu - self.mean
        return np.sqrt(np.einsum("ij,ij->i", away, np.linalg.solve(self.covariance, away.T).T))


def latent_coverage(bank: LatentBank, mu: Numbers) -> dict[str, float]:
    """Do scans fall where the training patients were?

    Args:
        bank: Of the training patients.
        mu: `(scan, latent)` of other patients.

    Returns:
        `inside`: share of scans within the ellipsoid that holds 99 % of a normal distribution;
        `median_distance` and `largest_distance`: Mahalanobis distance over the root of the number of latents.
    """
    distances = bank.distances(mu)
    limit = np.sqrt(chi2.ppf(_INSIDE, mu.shape[1]))
    scaled = distances / np.sqrt(mu.shape[1])
    return {
        "inside": float((distances <= limit).mean()),
        "median_distance": float(np.median(scaled)),
        "largest_distance": float(scaled.max()),
    }


def reencode_drift(network: SemiVAE, latents: Numbers, spread: Numbers) -> Numbers:
    """How far a latent moves when it is decoded and encoded again: |E(D(z)) - z|.

    Args:
        network: With encoder and decoder.
        latents: `(scan, latent)`, of scans or of points between them.
        spread: `(latent,)` standard deviation over the training scans, the unit; latents that do not vary
            count nothing.

    Returns:
        `(scan,)` root mean square over the latents.
    """
    varies = spread > 0
    drift = (reencode(network, latents) - latents)[:, varies] / spread[varies]
    return np.sqrt(np.mean(np.square(drift), axis=1))


def between(latents: Numbers, *, seed: int = 0) -> Numbers:
    """Points half way between scans: in a hole of the latent space they do not come back from the decoder.

    Args:
        latents: `(scan, latent)`.
        seed: Of the pairs.

    Returns:
        `(scan, latent)`.
    """
    order = np.random.default_rng(seed).permutation(len(latents))
    return 0.5 * (latents[order] + latents[np.roll(order, 1)])
