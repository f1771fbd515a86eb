"""The losses that this project started from, kept to show in tests and benchmarks what is wrong with them.

Each follows the description in the analysis it came from: means over voxels, over latents, over batches.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def cross_partition_naive(mu: Tensor, slices: Mapping[str, slice]) -> Tensor:
    """Sum of squared covariances between the partitions' mean activations."""
    means = torch.stack([mu[:, span].mean(dim=1) for span in slices.values()], dim=1)
    covariance = torch.cov(means.T)
    return (covariance - torch.diag(covariance.diagonal())).square().sum()


def elbo_naive(recon: Tensor, image: Tensor, mu: Tensor, logvar: Tensor, free_bits: float = 0.0) -> Tensor:
    """Squared error averaged over voxels plus KL summed over latents, floor per latent on the batch mean."""
    kl = 0.5 * (logvar.exp() + mu**2 - 1 - logvar).mean(dim=0)
    return (recon - image).square().mean() + kl.clamp_min(free_bits).sum()


def weighted_error_naive(recon: Tensor, image: Tensor, tumour: Tensor, tumour_weight: float = 5.0) -> Tensor:
    """Weighted squared error divided by the number of voxels, which grows with the tumour."""
    return (torch.where(tumour > 0, tumour_weight, 1.0) * (recon - image).square()).mean()


def density_naive(z: Tensor) -> Tensor:
    """Negative log-density under the prior."""
    return 0.5 * z.square().mean()


def biased_distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Squared distance correlation from doubly centred distances (Szekely et al. 2007)."""
    first, second = _centred(x), _centred(y)
    return (first * second).mean() / (first.square().mean() * second.square().mean()).sqrt()


def _centred(x: Tensor) -> Tensor:
    distances = torch.cdist(x, x)
    rows = distances.mean(dim=0, keepdim=True)
    return distances - rows - rows.T + distances.mean()
