r"""KL divergence of the posterior from its prior, by partition, in nats per sample.

All partitions have a prior, supervised ones too: without it their scale is arbitrary, and a distance from
the prior says nothing. With free bits the loss is $\beta \sum_p \max(\tau_p d_p, \mathrm{KL}_p)$, the
maximum taken of the mean over the batch (Kingma et al. 2016): below the floor there is no gradient, so a
part at its floor tells nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn

from revoxel.semivae.objective.gather import all_gather_with_grad
from revoxel.semivae.objective.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from revoxel.semivae.network.partition import LatentPartition

FloorMode = Literal["group", "dimension"]


@full_precision
def kl_per_dimension(mu: Tensor, logvar: Tensor, prior: Mapping[str, Tensor] | None = None) -> Tensor:
    """KL divergence of normal posteriors from a normal prior, closed form.

    Args:
        mu: `(B, D)` means.
        logvar: `(B, D)` logarithms of the variances.
        prior: `mu` and `logvar` of a normal prior, `(B, D)` each; None is the standard normal.

    Returns:
        `(B, D)` in nats.
    """
    if prior is None:
        return 0.5 * (logvar.exp() + mu**2 - 1 - logvar)
    ratio = logvar - prior["logvar"]
    distance = (mu - prior["mu"]) ** 2 * (-prior["logvar"]).exp()
    return 0.5 * (ratio.exp() + distance - 1 - ratio)


class PartitionKL(nn.Module):
    """KL of all partitions with a floor for each; divided by the number of voxels it adds to a likelihood.

    Args:
        partition: Of the latent.
        beta: Weight of the loss; an attribute that a schedule may set. The nats that are reported go
            without it.
        free_bits: Floor by part in nats per dimension; 0 where none is given.
        mode: Whether the floor is held against a part's total or against every dimension.

    Raises:
        ValueError: If a part is unknown, a floor or beta negative, or the mode unknown.
    """

    def __init__(
        self,
        partition: LatentPartition,
        beta: float = 1.0,
        free_bits: Mapping[str, float] | None = None,
        mode: FloorMode = "group",
    ) -> None:
        super().__init__()
        floors = dict(free_bits or {})
        unknown = sorted(set(floors) - set(partition.slices))
        if unknown or mode not in get_args(FloorMode) or not all(v >= 0 for v in (beta, *floors.values())):
            msg = (
                f"KL must have beta >= 0, free bits >= 0 for parts among {', '.join(partition.slices)} and a "
                f"mode among {', '.join(get_args(FloorMode))}, got {beta:g}, {floors} and {mode!r}; "
                "correct the configuration."
            )
            raise ValueError(msg)
        self.slices = dict(partition.slices)
        self.beta, self.floors, self.mode = beta, floors, mode

    @full_precision
    def forward(
        self, mu: Tensor, logvar: Tensor, prior: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Measure a batch.

        Args:
            mu: `(B, z_dim)` means.
            logvar: `(B, z_dim)` logarithms of the variances.
            prior: Of a hierarchy: `mu` and `logvar`, `(B, z_dim)` each.

        Returns:
            Loss in nats per sample, floors and beta applied; and KL by part in nats, neither applied.
        """
        mean = self._batch_mean(kl_per_dimension(mu, logvar, prior))
        nats = {name: mean[span].sum() for name, span in self.slices.items()}
        floored = [
            self._floored(mean[span], self.floors.get(name, 0.0)) for name, span in self.slices.items()
        ]
        return self.beta * torch.stack(floored).sum(), nats

    def _floored(self, part: Tensor, floor: float) -> Tensor:
        if self.mode == "dimension":
            return part.clamp_min(floor).sum()
        return part.sum().clamp_min(floor * len(part))

    def _batch_mean(self, nats: Tensor) -> Tensor:
        mean = nats.mean(dim=0)
        # A floor bends the mean, so that the mean of the processes' losses is not the loss of their mean.
        if any(self.floors.values()) and self.training and torch.is_grad_enabled():
            return all_gather_with_grad(mean[None]).mean(dim=0)
        return mean
