"""What happens beside the optimisation: weights rise, and every validation is looked at closely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Events
from torch.utils.tensorboard import SummaryWriter

from revoxel.core.handlers import DIAGNOSTICS
from revoxel.core.pulses import Pulse
from revoxel.semivae.diagnosis.encoding import encode_scans, frozen
from revoxel.semivae.diagnosis.epoch import epoch_diagnostics
from revoxel.semivae.learning.aggressive import MUTUAL_INFORMATION, mutual_information

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ignite.engine import Engine
    from torch import Tensor

    from revoxel.core.schedule import Budget
    from revoxel.semivae.learning.objective import SemiVaeObjective
    from revoxel.semivae.network.semivae import SemiVAE

_N_PICTURES = 4


class RisingWeights:
    """Set the weights of the objective's parts by the share of the training that is done.

    Args:
        objective: Whose weights.
        budget: Knows the share.
    """

    def __init__(self, objective: SemiVaeObjective, budget: Budget) -> None:
        self.objective, self.budget = objective, budget

    def attach(self, engine: Engine) -> None:
        """Set them before every iteration of this trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set them now."""
        self.objective.advance(self.budget.progress(engine))


class EpochDiagnostics:
    """Figures of every validation for the epoch log and TensorBoard, and pictures of what the network sees.

    Args:
        network: As it is trained.
        loader: Batches of the validation.
        free_bits: Nats per latent by part that the objective does not ask back.
        log_dir: Of TensorBoard; None writes nothing there.
    """

    def __init__(
        self,
        network: SemiVAE,
        loader: Iterable[Mapping[str, Any]],
        free_bits: Mapping[str, float] | None = None,
        log_dir: str | Path | None = None,
    ) -> None:
        self.network, self.loader, self.free_bits, self.log_dir = network, loader, free_bits, log_dir

    def attach(self, engine: Engine) -> None:
        """Look after every run of this evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Look now; the figures go to the evaluator's metrics."""
        batches = list(self.loader)
        partition = self.network.partition
        figures = epoch_diagnostics(self.network, partition, batches, self.free_bits)
        latents = encode_scans(self.network, partition, batches)
        mu, logvar = torch.from_numpy(latents.mu), torch.from_numpy(latents.logvar)
        figures[MUTUAL_INFORMATION] = mutual_information(mu, logvar)
        engine.state.metrics[DIAGNOSTICS] = figures
        if self.log_dir is not None:
            with SummaryWriter(self.log_dir) as writer:
                _write(writer, figures, self._pictures(batches[0]), engine.state.epoch)

    def _pictures(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Middle slices of some scans beside reconstructions, and where each part of the latent looks."""
        first = {name: batch[name][:_N_PICTURES] for name in ("image", "available")}
        with frozen(self.network) as device:
            seen = self.network(*(value.to(device) for value in first.values()))
        pairs = torch.cat([first["image"], seen["recon"].cpu()], dim=3)
        pictures = {
            f"reconstruction/{pulse.value}": _middle(pairs[:, channel]) for channel, pulse in enumerate(Pulse)
        }
        looks = {f"attention/{name}": maps.sum(dim=1).cpu() for name, maps in seen["attention"].items()}
        return pictures | {name: _middle(maps) for name, maps in looks.items()}


def _middle(volumes: Tensor) -> Tensor:
    """Axial middle slices side by side, scaled to 0 to 1, `(1, row, column)`."""
    slices = volumes[..., volumes.shape[-1] // 2].flip(2).transpose(1, 2)
    row = torch.cat(list(slices), dim=1)
    return ((row - row.min()) / (row.max() - row.min()).clamp_min(1e-6))[None]


def _write(
    writer: SummaryWriter, figures: Mapping[str, float], pictures: Mapping[str, Tensor], epoch: int
) -> None:
    for name, value in figures.items():
        writer.add_scalar(name, value, epoch)
    for name, picture in pictures.items():
        writer.add_image(name, picture, epoch)
