"""How far predicted tumour features and labels are from the truth, where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from revoxel.semivae.objective.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from revoxel.semivae.network.partition import LatentPartition

DEFAULT_WEIGHTS = {"vol": 1.0, "loc": 1.0, "shape": 0.5}


class MaskedSemanticLoss(nn.Module):
    """Huber loss of every supervised part's features, absent ones left out.

    Args:
        partition: Of the latent.
        weights: By part, over 1 for volume and location and 0.5 for shape; other parts weigh 1.
        huber_delta: Error in standard deviations from which the loss grows linearly.

    Raises:
        ValueError: If a part is not supervised, a weight negative or delta not positive.
    """

    def __init__(
        self,
        partition: LatentPartition,
        weights: Mapping[str, float] | None = None,
        huber_delta: float = 1.0,
    ) -> None:
        super().__init__()
        given, known = dict(weights or {}), list(partition.feature_slices)
        if set(given) - set(known) or not all(v >= 0 for v in given.values()) or not huber_delta > 0:
            msg = (
                f"semantics must have weights >= 0 for parts of {', '.join(known)} and huber_delta > 0, got "
                f"{given} and {huber_delta:g}; correct them."
            )
            raise ValueError(msg)
        self.columns = dict(partition.feature_slices)
        self.weights = {name: given.get(name, DEFAULT_WEIGHTS.get(name, 1.0)) for name in known}
        self.huber_delta = huber_delta

    @full_precision
    def forward(
        self, predictions: Mapping[str, Tensor], targets: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare a batch.

        Args:
            predictions: By part, `(B, F_p)`, normalised.
            targets: `(B, F)`, normalised, all features in the partition's order; NaN where absent.
            mask: `(B, F)`, which targets count; None takes all that are numbers.

        Returns:
            Weighted sum of the parts' losses, and the losses by part without weights.
        """
        parts = {
            name: self._part(predictions[name], targets, mask, span) for name, span in self.columns.items()
        }
        total = torch.stack([self.weights[name] * loss for name, loss in parts.items()]).sum()
        return total, {name: loss.detach() for name, loss in parts.items()}

    def _part(self, predicted: Tensor, targets: Tensor, mask: Tensor | None, span: slice) -> Tensor:
        truth = targets[:, span]
        present = truth.isfinite() if mask is None else truth.isfinite() & mask[:, span].bool()
        losses = F.huber_loss(predicted, truth.nan_to_num(0, 0, 0), reduction="none", delta=self.huber_delta)
        return _masked_mean(losses, present)


@full_precision
def presence_loss(logits: Mapping[str, Tensor], presence: Tensor) -> Tensor:
    """Cross-entropy of which labels the tumour has.

    Args:
        logits: By part, `(B, R_p)`, in the partition's order.
        presence: `(B, R)` of 0 and 1, NaN where unknown.

    Returns:
        Mean over what is known, in nats.
    """
    predicted = torch.cat(list(logits.values()), dim=1)
    truth = presence.to(predicted.dtype)
    losses = F.binary_cross_entropy_with_logits(predicted, truth.nan_to_num(0.0), reduction="none")
    return _masked_mean(losses, truth.isfinite())


def _masked_mean(losses: Tensor, present: Tensor) -> Tensor:
    """Mean over what is present; 0, with a gradient of 0, if nothing is."""
    return torch.where(present, losses, 0.0).sum() / present.sum().clamp_min(1)
