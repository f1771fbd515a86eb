"""Tuning without truth: a network is changed until its maps explain the signals of a few subjects."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from revoxel.asl.learning.slice_bank import SliceBank, SliceRecipe
from revoxel.asl.network.losses import AslLoss
from revoxel.asl.network.models import AslModel, load_asl_model
from revoxel.core.checkpoints import save_weights
from revoxel.core.sampling import EpochSampler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_RATE = 2e-4
_LOSS = {"mode": "mae", "cbf_weight": 0.0, "att_weight": 0.0, "dc_weight": 1.0}


def tune_on_signals(checkpoint: Path, target: Path, settings: Mapping[str, Any], seconds: float) -> Path:
    """Tune a network on simulated subjects whose constants differ from those it is told.

    The encoder stays as it is; the loss is data consistency alone.

    Args:
        checkpoint: Trained network.
        target: File to write.
        settings: `subjects`, `slices` of each, and the constants of the subjects by name.
        seconds: Of the processor.

    Returns:
        The target.
    """
    model = load_asl_model(checkpoint)
    constants = {
        name: value for name, value in settings.items() if name not in {"subjects", "slices", "share"}
    }
    n_slices = int(settings["subjects"]) * int(settings["slices"])
    # What the fit and the loss assume stays; what the signals are made with does not.
    shift: dict[str, Any] = {name: (value, value) for name, value in constants.items()}
    recipe = SliceRecipe(
        variation=shift,
        physics_known=False,
        snr_range=(10.0, 10.0),
        protocol=model.protocol,
        physics=model.physics,
    )
    _tune(model, SliceBank(recipe, n_slices, seed=20, n_shows=1_000_000), seconds)
    return save_weights(target, model.network.state_dict(), model.record)


def _tune(model: AslModel, bank: SliceBank, seconds: float) -> None:
    network = model.network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(".encoder." not in name)
    loss = AslLoss(_LOSS, model.protocol, model.physics)
    optimizer = torch.optim.Adam([part for part in network.parameters() if part.requires_grad], lr=_RATE)
    sampler = EpochSampler(bank)
    loader = DataLoader(bank, 8, sampler=sampler)
    start = time.process_time()
    for epoch in count():
        sampler.set_epoch(epoch)
        for batch in loader:
            value = loss(network(batch["image"]), batch["label"])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        if (time.process_time() - start) / torch.get_num_threads() >= seconds:
            break
    network.eval()
