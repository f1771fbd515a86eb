"""What MONAI's engines lack: a CSV per epoch, resumable state, clipped gradients.

Order in a trainer's handler list: validation, learning rate, `EarlyStopping`, `EpochLog`, `Checkpoints`.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Events
from ignite.handlers import ProgressBar
from monai.engines.utils import IterationEvents

from revoxel.core.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ignite.engine import Engine

logger = logging.getLogger(__name__)

# Names under which a bundle attaches the metrics that the handlers read.
VALIDATION_LOSS = "val_loss"
LOSS_PARTS = "loss_parts"
#: Further figures of a validation, by the names under which they are logged.
DIAGNOSTICS = "diagnostics"
LAST = "last.pt"


class Stateful(Protocol):
    """Anything that can be saved in a checkpoint and continued from it."""

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Continue from a state."""


class ClipGradients:
    """Limit the l2 norm of all gradients together, after they are unscaled.

    Args:
        max_norm: largest norm; 0 switches clipping off.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Clip before every optimizer step of this trainer."""
        if self.max_norm > 0:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Clip the gradients of the trainer's network."""
        torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)


class EarlyStopping:
    """Stop when the validation loss has not fallen for some epochs; its state survives a restart.

    Args:
        evaluator: engine whose `val_loss` is watched.
        patience: validations without improvement before stopping; 0 never stops.
        min_delta: smallest fall that counts as an improvement.
    """

    def __init__(self, evaluator: Any, patience: int, min_delta: float = 0.0) -> None:
        self.evaluator = evaluator
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.n_waited = 0

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return 0 < self.patience <= self.n_waited

    def attach(self, engine: Engine) -> None:
        """Watch this trainer's epochs."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compare the newest validation with the best and stop when patience has run out."""
        loss = validation_loss(engine, self.evaluator)
        if loss is None:
            return
        if self.best is None or loss < self.best - self.min_delta:
            self.best, self.n_waited = loss, 0
        else:
            self.n_waited += 1
        if self.exhausted:
            logger.info("validation loss has not fallen for %d validations: stopping", self.n_waited)
            engine.terminate()

    def state_dict(self) -> dict[str, Any]:
        """Best loss and how long it has stood."""
        return {"best": self.best, "n_waited": self.n_waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.best, self.n_waited = state["best"], state["n_waited"]


def validation_loss(engine: Engine, evaluator: Any) -> float | None:
    """Validation loss of this epoch.

    Args:
        engine: trainer.
        evaluator: evaluator with a metric `val_loss`.

    Returns:
        The loss, or None if this epoch was not validated.

    Raises:
        FloatingPointError: If it is not finite: no later loss could be told to be better.
    """
    if evaluator.state.epoch != engine.state.epoch:
        return None
    loss = float(evaluator.state.metrics[VALIDATION_LOSS])
    if not math.isfinite(loss):
        msg = f"validation loss must be finite, got {loss} in epoch {engine.state.epoch}; lower the rate."
        raise FloatingPointError(msg)
    return loss


class EpochLog:
    """One CSV row per epoch: mean of every loss part (train and val), learning rate, seconds, diagnostics.

    Args:
        path: CSV file; a continued run drops the rows after its checkpoint and appends.
        evaluator: engine that validates.
        optimizer: whose learning rate is logged.
    """

    def __init__(self, path: str | Path, evaluator: Any, optimizer: torch.optim.Optimizer) -> None:
        self.path = Path(path)
        self.evaluator = evaluator
        self.optimizer = optimizer
        self._start_s = 0.0
        self._learning_rate = 0.0

    def attach(self, engine: Engine) -> None:
        """Log this trainer's epochs."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _start(self, _: Engine) -> None:
        self._start_s = time.perf_counter()
        self._learning_rate = float(self.optimizer.param_groups[0]["lr"])

    def __call__(self, engine: Engine) -> None:
        """Write the row of the epoch that has just ended."""
        row: dict[str, float | str] = {"epoch": engine.state.epoch}
        train = engine.state.metrics[LOSS_PARTS]
        validated = self.evaluator.state.epoch == engine.state.epoch
        val = self.evaluator.state.metrics[LOSS_PARTS] if validated else {}
        row |= {f"train_{name}": value for name, value in train.items()}
        row |= {f"val_{name}": val.get(name, "") for name in train}
        row |= {"lr": self._learning_rate, "seconds": round(time.perf_counter() - self._start_s, 3)}
        row |= self.evaluator.state.metrics.get(DIAGNOSTICS, {}) if validated else {}
        if idist.get_rank() != 0:
            return
        self._write(row)
        logger.info(
            "epoch %d/%d: train %.6f, val %s, %.1f s",
            *(engine.state.epoch, engine.state.max_epochs, train.get("total", float("nan"))),
            *(f"{val['total']:.6f}" if "total" in val else "-", row["seconds"]),
        )

    def _write(self, row: dict[str, Any]) -> None:
        rows = [old for old in read_epoch_log(self.path) if int(old["epoch"]) < row["epoch"]]
        # An epoch without a validation knows less than the one before.
        names = list(dict.fromkeys([*row, *(rows[0] if rows else {})]))
        with (
            atomic_path(self.path, overwrite=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=names, restval="")
            writer.writeheader()
            writer.writerows([*rows, row])


def read_epoch_log(path: Path) -> list[dict[str, str]]:
    """Rows of a training log, none if there is no file.

    Args:
        path: CSV written by `EpochLog`.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Checkpoints:
    """Named checkpoints of the network, and one `last.pt` from which an interrupted run goes on.

    `model_epoch{e:03d}_val{loss:.6f}.pt` is written when the validation loss improves and every `every`
    epochs.

    Args:
        folder: where checkpoints go.
        states: what is saved by name; must hold `model`. `early_stopping` may end a continued run at once.
        evaluator: engine that validates.
        protocol: what the weights are for; a run with another protocol is not continued.
        recipe: how they are trained, as plain values; a run with another recipe is not continued either.
        every: cadence of named checkpoints in epochs; 0 writes improvements only.
        resume: continue from `last.pt` if there is one; off, the folder must not hold a run.
    """

    def __init__(  # noqa: PLR0913 - one line of a bundle's config each
        self,
        folder: str | Path,
        states: Mapping[str, Stateful],
        evaluator: Any,
        protocol: Mapping[str, Any],
        *,
        recipe: Mapping[str, Any] | None = None,
        every: int = 0,
        resume: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.states = dict(states)
        self.evaluator = evaluator
        self.protocol = dict(protocol)
        self.recipe = dict(recipe or {})
        self.every = every
        self.resume = resume
        self._best: float | None = None

    @property
    def last(self) -> Path:
        """File that a run continues from."""
        return self.folder / LAST

    def attach(self, engine: Engine) -> None:
        """Continue and save this trainer."""
        engine.add_event_handler(Events.STARTED, self._continue)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _continue(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            # A process that is killed while it writes leaves its temporary file behind.
            for leftover in self.folder.glob(".*.partial.*"):
                leftover.unlink(missing_ok=True)
        if not self.last.is_file():
            return
        if not self.resume:
            msg = f"{self.folder} must not hold a run yet, got {LAST}; resume it or choose another out_root."
            raise FileExistsError(msg)
        checkpoint = load_checkpoint(self.last, self.protocol)
        check_recipe(checkpoint, self.recipe)
        for name, part in self.states.items():
            part.load_state_dict(checkpoint.states[name])
        self._best = checkpoint.states["best"]
        engine.state.epoch = checkpoint.states["epoch"]
        engine.state.iteration = engine.state.epoch * (engine.state.epoch_length or 0)
        logger.info("continuing %s after epoch %d", self.last, engine.state.epoch)
        stopping = self.states.get("early_stopping")
        if isinstance(stopping, EarlyStopping) and stopping.exhausted:
            engine.terminate()

    def __call__(self, engine: Engine) -> None:
        """Save the epoch that has just ended."""
        loss = validation_loss(engine, self.evaluator)
        improved = loss is not None and (self._best is None or loss < self._best)
        if improved:
            self._best = loss
        if idist.get_rank() != 0:
            return
        epoch = engine.state.epoch
        states = {name: part.state_dict() for name, part in self.states.items()}
        record = {"epoch": epoch, "best": self._best, "val_loss": loss, "recipe": self.recipe}
        if loss is not None and (improved or (self.every and epoch % self.every == 0)):
            path = self.folder / f"model_epoch{epoch:03d}_val{loss:.6f}.pt"
            save_checkpoint(path, {"model": states["model"], **record}, self.protocol)
        save_checkpoint(self.last, {**states, **record}, self.protocol)


def check_recipe(checkpoint: Checkpoint, recipe: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings than a run began with: the old ones would win in silence.

    Args:
        checkpoint: last state of the run; one without a recipe fits any.
        recipe: settings of now.

    Raises:
        ValueError: If a setting differs; every difference is named with both values.
    """
    began: dict[str, Any] = checkpoint.states.get("recipe", {})
    differences = [
        f"{name}: began with {began[name]!r}, got {value!r}"
        for name, value in recipe.items()
        if name in began and began[name] != value
    ]
    if differences:
        msg = (
            f"{checkpoint.path} must be continued with its own settings ({'; '.join(differences)}); "
            "give those, or choose another out_root."
        )
        raise ValueError(msg)


class Progress:
    """Progress bar of the iterations with the current loss, on the first process."""

    def attach(self, engine: Engine) -> None:
        """Show this engine's progress."""
        if idist.get_rank() == 0:
            ProgressBar(persist=False, disable=None).attach(engine, output_transform=_shown)


def _shown(output: Mapping[str, Any]) -> dict[str, float]:
    return {"loss": float(output["loss"].detach())}
