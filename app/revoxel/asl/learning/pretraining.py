"""Self-supervised first steps: a network learns to predict the signals without noise, then the maps."""

from __future__ import annotations

import logging
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from revoxel.asl.learning.slice_bank import SliceBank
from revoxel.asl.network.channels import LabelMap, split_targets
from revoxel.core.sampling import EpochSampler

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.asl.learning.slice_bank import SliceRecipe

logger = logging.getLogger(__name__)

_N_SLICES = 128
_BATCH_SIZE = 8
_RATE = 2e-3


class SignalHead(nn.Module):
    """Stands in for the heads of a network while it learns to predict signals.

    Args:
        n_features: Features per decoder.
        n_signal: Signals to predict.
    """

    def __init__(self, n_features: int, n_signal: int) -> None:
        super().__init__()
        self.signals = nn.Conv2d(n_features, n_signal, 1)
        self.seen: Tensor | None = None

    def keep(self, _: nn.Module, __: object, features: list[Tensor]) -> None:
        """Forward hook of a network's trunk: predict signals from its features."""
        self.seen = sum(self.signals(part) for part in features) / len(features)


def pretrain_denoise(network: nn.Module, recipe: SliceRecipe, seconds: float, seed: int = 0) -> int:
    """Train the trunk of a network to predict the clean signals; its own heads stay as they are.

    Args:
        network: `SpatialASLNet` or `AmplitudeAwareSpatialASLNet`.
        recipe: How slices are simulated.
        seconds: Of the processor; 0 does nothing.
        seed: Of the slices.

    Returns:
        Steps taken.

    Raises:
        ValueError: If the network has no trunk or no signals.
    """
    if not seconds:
        return 0
    trunk: Any = getattr(network, "trunk", None)
    n_signal: int = network.channels.n_signal  # type: ignore[union-attr,assignment]
    if trunk is None or not n_signal:
        msg = f"pretrain_share needs a U-Net with signals, got {type(network).__name__}; set it to 0."
        raise ValueError(msg)
    head = SignalHead(trunk.n_features, n_signal).to(next(network.parameters()).device)
    hook = trunk.register_forward_hook(head.keep)
    optimizer = torch.optim.AdamW([*trunk.parameters(), *head.parameters()], lr=_RATE)
    bank = SliceBank(recipe, _N_SLICES, seed=2 * seed + 1, clean=True)
    try:
        n_steps = _steps(network, head, optimizer, bank, seconds)
    finally:
        hook.remove()
    logger.info("predicted clean signals for %d steps", n_steps)
    return n_steps


def _steps(
    network: nn.Module, head: SignalHead, optimizer: torch.optim.Optimizer, bank: SliceBank, seconds: float
) -> int:
    sampler = EpochSampler(bank)
    loader = DataLoader(bank, _BATCH_SIZE, sampler=sampler)
    start, device = time.process_time(), next(network.parameters()).device
    n_steps = 0
    network.train()
    for epoch in count():
        sampler.set_epoch(epoch)
        for batch in loader:
            network(batch["image"].to(device))
            loss = _signal_error(head.seen, batch["label"].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            n_steps += 1
            if (time.process_time() - start) / torch.get_num_threads() >= seconds:
                return n_steps
    return n_steps


def _signal_error(predicted: Tensor | None, label: Tensor) -> Tensor:
    """Mean squared error inside the mask, in units in which grey matter is about 1."""
    if predicted is None:
        msg = "the trunk must have run before its features are used, got none; call the network first."
        raise RuntimeError(msg)
    truth, signals = split_targets(label)
    mask = truth[LabelMap.mask]
    squares = (predicted - 200.0 * signals) ** 2 * mask
    return squares.sum() / (mask.sum() * signals.shape[1]).clamp_min(1.0)
