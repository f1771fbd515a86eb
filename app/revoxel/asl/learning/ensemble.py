"""Networks that were trained apart become one checkpoint: an ensemble with calibrated standard deviations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revoxel.asl.learning.training import calibrate
from revoxel.asl.network.ensemble import EnsembleASLNet
from revoxel.asl.network.models import MEMBERS, load_asl_model
from revoxel.core.checkpoints import save_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from revoxel.asl.learning.slice_bank import SliceBank


def save_ensemble(members: Sequence[Path], bank: SliceBank, target: Path) -> Path:
    """Join trained networks.

    Args:
        members: Checkpoints, or folders of runs; two or more.
        bank: Validation slices, on which the standard deviations are calibrated.
        target: File to write; an older one is replaced.

    Returns:
        The target: a plain state dict that says what it is for.

    Raises:
        FileNotFoundError: If a checkpoint is missing.
        ValueError: If one is of another form or training than the first.
    """
    models = [load_asl_model(path) for path in members]
    first = models[0]
    for model in models[1:]:
        if model.record != first.record:
            msg = (
                f"{model.path} must be of the form and training of {first.path}, got {model.record} and "
                f"{first.record}; train all members with one configuration."
            )
            raise ValueError(msg)
    network = EnsembleASLNet([model.network for model in models]).eval()
    calibrate(network, bank)
    return save_weights(target, network.state_dict(), {**first.record, MEMBERS: len(models)})
