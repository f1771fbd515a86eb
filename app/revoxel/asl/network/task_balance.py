"""How much CBF and ATT weigh against each other in a loss: fixed, learned, or steered from epoch to epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Balance = Literal["fixed", "uncertainty", "dwa", "val_var", "sequential"]
BALANCES = ("fixed", "uncertainty", "dwa", "val_var", "sequential")
TASKS = ("cbf", "att")

_TEMPERATURE = 2.0


class TaskBalance(nn.Module):
    """Weights of two tasks, starting at 1 each.

    Args:
        kind: `fixed`; `uncertainty`: learned log-variances (Kendall, CVPR 2018); `dwa`: by how fast either
            loss falls (Liu, CVPR 2019); `val_var`: in proportion to the variance of the validation errors;
            `sequential`: CBF in the first half of the run, ATT in the second.

    Raises:
        ValueError: If the kind is unknown.
    """

    weights: Tensor
    previous: Tensor

    def __init__(self, kind: Balance = "fixed") -> None:
        super().__init__()
        if kind not in BALANCES:
            msg = f"adaptive must be one of {', '.join(BALANCES)}, got {kind!r}; correct the config."
            raise ValueError(msg)
        self.kind = kind
        start = [2.0, 0.0] if kind == "sequential" else [1.0, 1.0]
        self.register_buffer("weights", torch.tensor(start))
        self.register_buffer("previous", torch.zeros(2))
        self.log_variances = nn.Parameter(torch.zeros(2)) if kind == "uncertainty" else None

    def forward(self, losses: Tensor) -> Tensor:
        """Weighted sum.

        Args:
            losses: of CBF and of ATT, `(2,)`.
        """
        if self.log_variances is not None:
            return (losses * torch.exp(-self.log_variances) + self.log_variances).sum()
        return (losses * self.weights).sum()

    @torch.no_grad()
    def end_epoch(self, train: Mapping[str, Any], val: Mapping[str, Any], progress: float) -> None:
        """Set the weights of the next epoch.

        Args:
            train: mean parts of the training loss.
            val: mean parts of the validation loss; empty if this epoch was not validated.
            progress: share of the run that is done.
        """
        losses = torch.tensor([float(train[task]) for task in TASKS])
        if self.kind == "dwa":
            if bool((self.previous > 0).all()):
                self.weights.copy_(2 * torch.softmax(losses / self.previous / _TEMPERATURE, 0))
            self.previous.copy_(losses)
        elif self.kind == "val_var" and val:
            variances = torch.tensor([float(val[f"{task}_variance"]) for task in TASKS])
            self.weights.copy_(2 * variances / variances.sum())
        elif self.kind == "sequential" and progress >= 0.5:
            self.weights.copy_(torch.tensor([0.0, 2.0]))
