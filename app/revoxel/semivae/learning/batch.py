"""What of a batch goes to the network and what to the objective, as MONAI's engines ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from revoxel.semivae.learning.objective import SemiVaeObjective


class SemiVaeBatch:
    """`prepare_batch` of trainer and evaluator.

    Args:
        objective: Says which part of the latent the next iteration exchanges; None, in validation, none.
    """

    def __init__(self, objective: SemiVaeObjective | None = None) -> None:
        self.objective = objective

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Tensor], tuple[()], dict[str, Any]]:
        """Move a batch to the device.

        Args:
            batch: Of `ScanBank`.
            device: Where the network is.
            non_blocking: Do not wait for the copy.
            **kwargs: Of `Tensor.to`.

        Returns:
            Image with the blanked pulses at 0; all tensors by name, for the objective, which asks for the
            blanked pulses too; nothing; and what the network takes by name.
        """
        truth = {
            name: value.to(device, non_blocking=non_blocking, **kwargs)
            for name, value in batch.items()
            if isinstance(value, Tensor)
        }
        exchanged = self.objective.exchanged() if self.objective else None
        there = truth["available"].to(truth["image"].dtype)[:, :, None, None, None]
        return truth["image"] * there, truth, (), {"available": truth["available"], "intervene": exchanged}
