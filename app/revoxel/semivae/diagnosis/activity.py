"""Which latents say something about a scan, counted so that free bits cannot fool the count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from revoxel.semivae.network.partition import LatentPartition

    Numbers = NDArray[np.float64]

#: Variance of the posterior means over scans above which a latent counts (Burda 2016).
SMALLEST_VARIANCE = 0.01
#: Nats that a latent must carry beyond what free bits hand out for nothing.
MARGIN_NATS = 0.1


def active_units(mu: Numbers, kl_per_dim: Numbers, free_bits: float | Numbers = 0.0) -> NDArray[np.bool_]:
    """Latents whose mean varies over scans and that carry more than the free bits give them.

    Free bits alone make every latent vary: an untrained direction is moved until it costs the floor. So the
    divergence must be above the floor too: `Var(mu_j) > 0.01` and `KL_j > tau + 0.1` nats.

    Args:
        mu: `(scan, latent)` posterior means.
        kl_per_dim: `(latent,)` mean divergence in nats, or `(scan, latent)`.
        free_bits: Floor in nats per latent, one for all or `(latent,)`.

    Returns:
        `(latent,)`.

    Raises:
        ValueError: If there are fewer than 2 scans, or the numbers of latents differ.
    """
    kl_nats = kl_per_dim.mean(axis=0) if kl_per_dim.ndim > 1 else kl_per_dim
    if len(mu) < 2 or kl_nats.shape != mu.shape[1:]:
        msg = (
            f"mu must be of 2 scans or more and of the latents of kl_per_dim, got {mu.shape} and "
            f"{kl_per_dim.shape}; encode more scans."
        )
        raise ValueError(msg)
    return (mu.var(axis=0) > SMALLEST_VARIANCE) & (kl_nats > np.asarray(free_bits) + MARGIN_NATS)


def signal_nats(mu: Numbers, logvar: Numbers) -> Numbers:
    r"""What a latent could tell of its scan: $\frac12 \ln(1 + \mathrm{Var}(\mu_j)/\bar{\sigma_j^2})$.

    The capacity of a Gaussian channel. The divergence is no measure of it: a posterior that is narrow, or off
    0, and the same for every scan has a large divergence and tells nothing.

    Args:
        mu: `(scan, latent)` posterior means.
        logvar: `(scan, latent)` logarithms of the posterior variances.

    Returns:
        `(latent,)` nats.
    """
    return 0.5 * np.log1p(mu.var(axis=0) / np.exp(logvar).mean(axis=0))


def floors_nats(partition: LatentPartition, free_bits: Mapping[str, float]) -> Numbers:
    """Free bits of every latent.

    Args:
        partition: Of the latent.
        free_bits: Nats per latent by part; 0 of parts that are not named.

    Returns:
        `(latent,)`.

    Raises:
        ValueError: If a part is unknown.
    """
    unknown = sorted(set(free_bits) - set(partition.slices))
    if unknown:
        msg = f"free_bits must name parts of {list(partition.slices)}, got {unknown}; correct the names."
        raise ValueError(msg)
    floors = np.zeros(partition.z_dim)
    for name, nats in free_bits.items():
        floors[partition.slices[name]] = nats
    return floors
