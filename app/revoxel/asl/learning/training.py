"""The named calls of the ASL bundle's training configuration."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Events

from revoxel.asl.network.channels import LabelMap, split_targets
from revoxel.asl.network.losses import AslLoss
from revoxel.asl.network.models import CALIBRATED, SYSTEM, fill_asl_network, first_member, load_asl_model
from revoxel.core.checkpoints import best_checkpoint, load_checkpoint, save_weights
from revoxel.core.handlers import LOSS_PARTS
from revoxel.core.one_line import one_line_errors
from revoxel.core.training import checkpoint_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ignite.engine import Engine
    from torch import nn

    from revoxel.asl.learning.slice_bank import SliceBank
    from revoxel.asl.physics import AslPhysics
    from revoxel.asl.protocol import AslProtocol
    from revoxel.core.schedule import Budget

logger = logging.getLogger(__name__)

_TARGETS = (LabelMap.cbf, LabelMap.att)


def image_items(folder: str | Path | None) -> list[dict[str, str]]:
    """NIfTI files of a folder as MONAI items, by name.

    Args:
        folder: where they lie; None gives no item.
    """
    files = sorted(Path(folder).glob("*.nii*")) if folder is not None else []
    return [{"image": str(path)} for path in files]


def check_images(dataset_dir: str | Path | None) -> None:
    """Stop with one line before anything is built if there is no image.

    Args:
        dataset_dir: folder of images.

    Raises:
        SystemExit: With one line that says what is wrong and what to do.
    """
    with one_line_errors():
        if not image_items(dataset_dir):
            msg = f"dataset_dir must hold NIfTI files, got {dataset_dir}; give --dataset_dir FOLDER."
            raise ValueError(msg)


def placed_loss(
    config: Mapping[str, Any], protocol: AslProtocol, physics: AslPhysics, device: torch.device
) -> AslLoss:
    """Build the loss on its device.

    Args:
        config: keys of `AslLossConfig`.
        protocol: delays of the signals.
        physics: constants of the signals.
        device: where it computes.

    Raises:
        SystemExit: With one line, if a key is unknown or a value out of range.
    """
    with one_line_errors():
        return AslLoss(config, protocol, physics).to(device)


def start_from(network: nn.Module, path: str | Path | None) -> None:
    """Start from the weights of another run of the same form.

    Args:
        network: network before training.
        path: checkpoint, or the run's folder for its best one; of an ensemble the first network; None does
            nothing.

    Raises:
        SystemExit: With one line, if the file is missing or made for something else.
    """
    if path is None:
        return
    with one_line_errors():
        fill_asl_network(network, first_member(load_checkpoint(checkpoint_of(path), {"system": SYSTEM})))


def load_weights(network: nn.Module, path: str | Path, protocol: Mapping[str, Any]) -> None:
    """Load weights into the network of a bundle.

    Args:
        network: `AslBundleNet`, or the network itself.
        path: checkpoint, the run's folder for its best one, or a bundle's `models/model.pt`.
        protocol: protocol entries that must be equal.

    Raises:
        SystemExit: With one line, if the file is missing or made for something else.
    """
    with one_line_errors():
        fill_asl_network(network, load_checkpoint(checkpoint_of(path), protocol))


class BalanceTasks:
    """Let the loss weigh CBF and ATT anew after every epoch.

    Args:
        loss: whose balance is steered.
        evaluator: engine that validates.
        budget: tells how far the run is.
    """

    def __init__(self, loss: AslLoss, evaluator: Any, budget: Budget) -> None:
        self.loss, self.evaluator, self.budget = loss, evaluator, budget

    def attach(self, engine: Engine) -> None:
        """Follow this trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Pass on the means of the epoch."""
        validated = self.evaluator.state.epoch == engine.state.epoch
        val = self.evaluator.state.metrics[LOSS_PARTS] if validated else {}
        train = engine.state.metrics[LOSS_PARTS]
        self.loss.balance.end_epoch(train, val, self.budget.progress(engine))


def calibrate_best(folder: str | Path, bank: SliceBank) -> Path:
    """Fit one factor per standard deviation of a run's best network, and write it as `model.pt`.

    Args:
        folder: folder of the run.
        bank: validation slices.

    Returns:
        The file: a plain state dict that says what it is for.

    Raises:
        SystemExit: With one line, if there is no named checkpoint.
    """
    with one_line_errors():
        model = load_asl_model(best_checkpoint(Path(folder)))
        calibrate(model.network, bank)
        return save_weights(Path(folder) / CALIBRATED, model.network.state_dict(), model.record)


def calibrate(network: nn.Module, bank: SliceBank) -> None:
    """Scale the standard deviations of a network so that they are right on average.

    Args:
        network: in evaluation mode; its factors are set.
        bank: validation slices.
    """
    factors = calibration_factors(network, bank)
    network.sd_factors.factors.copy_(factors)  # type: ignore[union-attr,operator]
    logger.info("standard deviations times %.3f (CBF), %.3f (ATT)", *factors.tolist())


@torch.no_grad()
def calibration_factors(network: nn.Module, bank: SliceBank) -> torch.Tensor:
    """Factors with which 68.3 % of the errors lie within one standard deviation.

    Args:
        network: in evaluation mode.
        bank: validation slices.

    Returns:
        Of CBF and of ATT, `(2,)`.
    """
    ratios: dict[LabelMap, list[torch.Tensor]] = {name: [] for name in _TARGETS}
    for index in range(len(bank)):
        item = bank[index]
        maps = network(item["image"][None])
        truth, _ = split_targets(item["label"][None])
        inside = truth[LabelMap.mask] > 0
        for name in _TARGETS:
            error = (maps[name] - truth[name]).abs() / maps[f"{name}_sd"].clamp_min(1e-6)
            ratios[name].append(error[inside])
    return torch.stack([torch.cat(ratios[name]).quantile(0.6827) for name in _TARGETS])
