r"""Whether a part of the latent is all that its features depend on, in the image.

Latents $z'$ take one part from another scan of the batch; the image decoded from them is encoded again.
What is predicted from that must be the other scan's for the exchanged part and the own for all others:
$h_q(E(D(z'))) = h_q(z')$. The latents themselves need not come back: a part has more numbers than features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from revoxel.semivae.objective.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from revoxel.semivae.network.partition import LatentPartition

#: Below it the unit stays: else parts that say little yet would be pressed to say nothing.
_LEAST_VARIANCE = 0.1


class InterventionConsistency(nn.Module):
    """Huber loss between features asked for by exchanged latents and features found in the image.

    Its unit is the spread of what is asked for: a part that predicts little must come back too.

    Args:
        partition: Of the latent.
    """

    def __init__(self, partition: LatentPartition) -> None:
        super().__init__()
        self.supervised = list(partition.feature_slices)

    @full_precision
    def forward(
        self, prediction: Mapping[str, Any], predict: Callable[[Tensor], Mapping[str, Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Measure a batch.

        Args:
            prediction: Of the network, with `intervention`: `mu_given`, the latents that were decoded, and
                `mu_found`, `(B, z_dim)` each.
            predict: The network's features by part, `(B, F_p)`, from latents.

        Returns:
            Mean over the supervised parts, and the parts.

        Raises:
            ValueError: If the network was not asked for an intervention.
        """
        exchanged = prediction.get("intervention")
        if exchanged is None:
            msg = "prediction must hold an intervention, got none; call the network with intervene=<part>."
            raise ValueError(msg)
        # What is asked for is no longer a matter of learning, else it could move towards what is found.
        with torch.no_grad():
            asked = predict(exchanged["mu_given"])
        found = predict(exchanged["mu_found"])
        parts = {name: _relative_loss(found[name], asked[name]) for name in self.supervised}
        return torch.stack(list(parts.values())).mean(), {n: loss.detach() for n, loss in parts.items()}


def _relative_loss(found: Tensor, asked: Tensor) -> Tensor:
    spread = (asked.var(dim=0, correction=0).mean() + _LEAST_VARIANCE).sqrt()
    return F.huber_loss(found / spread, asked / spread)
