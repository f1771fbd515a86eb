r"""Total correlation $\mathrm{KL}(q(z) \,\|\, \prod_d q(z_d))$, and how much of its estimate is not real.

Every estimator from a batch is far from 0 for latents that are independent: minibatch-weighted sampling
(Chen et al. 2018) by a constant near $(D - 1) \ln (N M)$ for small batches, which is hundreds of nats.
That offset is measured in the same batch after each latent has been shuffled among the samples, reported,
and taken off the loss. It has no gradient, but it swamps whatever is printed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from revoxel.semivae.objective.gather import all_gather_with_grad
from revoxel.semivae.objective.precision import full_precision

if TYPE_CHECKING:
    from revoxel.semivae.network.partition import LatentPartition

Estimator = Literal["mws", "mss", "gaussian"]


class TotalCorrelation(nn.Module):
    """Dependence among the latents of one part.

    Args:
        partition: Of the latent.
        n_scans: Number of scans that batches are drawn from.
        estimator: `mws`, minibatch-weighted sampling; `mss`, minibatch-stratified sampling; `gaussian`, of
            the covariance, which needs many more samples than latents.
        part: Whose latents.

    Raises:
        ValueError: If the estimator or part is unknown, or there are fewer than two scans.
    """

    def __init__(
        self,
        partition: LatentPartition,
        n_scans: int,
        estimator: Estimator = "mws",
        part: str = "residual",
    ) -> None:
        super().__init__()
        if estimator not in get_args(Estimator) or part not in partition.slices or n_scans < 2:
            msg = (
                f"total correlation must have an estimator among {', '.join(get_args(Estimator))}, a part "
                f"among {', '.join(partition.slices)} and at least 2 scans, got {estimator!r}, {part!r} and "
                f"{n_scans}; correct the configuration."
            )
            raise ValueError(msg)
        self.estimator, self.n_scans, self.span = estimator, n_scans, partition.slices[part]

    @full_precision
    def forward(self, z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Measure a batch.

        Args:
            z: `(B, z_dim)` samples.
            mu: `(B, z_dim)` means of their posteriors.
            logvar: `(B, z_dim)` logarithms of their variances.

        Returns:
            Estimate less offset, about 0 for independent latents; and `estimate` and `offset`, all in nats.

        Raises:
            ValueError: If the batch has fewer than two samples.
        """
        rows = torch.stack([part[:, self.span] for part in (z, mu, logvar)], dim=1)
        if self.training and torch.is_grad_enabled():
            rows = all_gather_with_grad(rows)
        if len(rows) < 2:
            msg = f"batch must have at least 2 samples for a total correlation, got {len(rows)}; enlarge it."
            raise ValueError(msg)
        estimate, offset = self._estimate(rows), self._estimate(_shuffled(rows.detach()))
        return estimate - offset, {"estimate": estimate.detach(), "offset": offset}

    def _estimate(self, rows: Tensor) -> Tensor:
        z, mu, logvar = rows.unbind(dim=1)
        if self.estimator == "gaussian":
            return gaussian_total_correlation(torch.cov(mu.T) + torch.diag(logvar.exp().mean(dim=0)))
        weights = self._log_weights(len(z)).to(z)
        densities = -0.5 * (logvar + (z[:, None] - mu) ** 2 * (-logvar).exp())
        joint = torch.logsumexp(densities.sum(dim=2) + weights, dim=1)
        marginals = torch.logsumexp(densities + weights[..., None], dim=1).sum(dim=1)
        return (joint - marginals).mean()

    def _log_weights(self, n: int) -> Tensor:
        """How much sample j stands for in the density at sample i, `(n, n)`."""
        if self.estimator == "mws":
            return torch.full((n, n), -math.log(self.n_scans * n))
        others = n - 1
        weights = torch.full((n, n), 1 / others)
        index = torch.arange(n)
        # One neighbour stands for all scans that the strata leave over.
        weights[index, (index + 1) % n] = max(self.n_scans - others, 1) / (self.n_scans * others)
        weights[index, index] = 1 / self.n_scans
        return weights.log()


def gaussian_total_correlation(covariance: Tensor) -> Tensor:
    r"""Of normal variables: $\tfrac12 (\sum_i \ln C_{ii} - \ln \det C)$.

    Args:
        covariance: `(D, D)`, positive definite.

    Returns:
        A scalar in nats.
    """
    return 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance))


def _shuffled(rows: Tensor) -> Tensor:
    """The same batch with each latent shuffled among the samples on its own."""
    n, _, n_latents = rows.shape
    order = torch.rand(n, n_latents, device=rows.device).argsort(dim=0)
    return rows.gather(0, order[:, None].expand_as(rows))
