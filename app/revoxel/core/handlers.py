"""What MONAI's engines lack: autocast on every device, a CSV per epoch, resumable state, clipped gradients.

MONAI's trainers hard-code CUDA autocast, so on a CPU `amp=True` does nothing; `TrainingUpdate` and
`EvaluationUpdate` are the iteration of all our bundles instead. A loss may keep its parts in `last`
(name to detached scalar); they are averaged per epoch by `ComponentMeans`.

Order in a trainer's handler list: validation, learning rate, `EarlyStopping`, `EpochLog`, `Checkpoints`.
"""

from __future__ import annotations

import csv
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Events
from ignite.handlers import ProgressBar
from ignite.metrics import Average, Metric
from monai.engines.utils import IterationEvents

from revoxel.core.checkpoints import load_checkpoint, save_checkpoint
from revoxel.core.compute import fast_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ignite.engine import Engine

logger = logging.getLogger(__name__)

# Names under which a bundle attaches the metrics that the handlers read.
VALIDATION_LOSS = "val_loss"
LOSS_PARTS = "loss_parts"


class Stateful(Protocol):
    """Anything that can be saved in a checkpoint and continued from it."""

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Continue from a state."""


class Precision:
    """Number format of the forward pass on any device.

    Args:
        dtype: "auto" (bfloat16 where the hardware has it, else float32), "float32", "bfloat16" or "float16".
        channels_last: lay volumes out channels-last, which is the fast layout for half precision.
    """

    def __init__(self, dtype: str = "auto", *, channels_last: bool = True) -> None:
        if dtype not in {"auto", "float32", "bfloat16", "float16"}:
            msg = f"amp_dtype must be auto, float32, bfloat16 or float16, got {dtype!r}; correct the config."
            raise ValueError(msg)
        self.dtype = dtype
        self.channels_last = channels_last

    def resolve(self, device: torch.device) -> torch.dtype:
        """Number format on this device."""
        return fast_dtype(device) if self.dtype == "auto" else getattr(torch, self.dtype)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Autocast context for this device; disabled for float32."""
        dtype = self.resolve(device)
        return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)

    def layout(self, image: torch.Tensor) -> torch.Tensor:
        """The batch in the layout that the network runs fastest on."""
        if self.channels_last and image.ndim == 5:
            return image.contiguous(memory_format=torch.channels_last_3d)
        return image


class TrainingUpdate:
    """One training iteration for MONAI's `SupervisedTrainer(iteration_update=...)`.

    Args:
        precision: number format; gradients are scaled for float16 only.
    """

    def __init__(self, precision: Precision | None = None) -> None:
        self.precision = precision or Precision()
        self._scaler = torch.amp.GradScaler("cuda", enabled=self.precision.dtype == "float16")

    def __call__(self, engine: Any, batch: Any) -> dict[str, Any]:
        """Forward, loss, backward, step; fires MONAI's iteration events in between.

        Args:
            engine: the trainer.
            batch: item of the data loader.

        Returns:
            `image`, `label`, `pred`, `loss` and `components`.

        Raises:
            RuntimeError: If the loss is not finite.
        """
        image, label = _prepare(engine, batch)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        output = _forward(engine, (image, label), engine.loss_function, self.precision)
        engine.state.output = output
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        if not torch.isfinite(output["loss"]):
            msg = (
                f"loss must be finite, got {float(output['loss'].detach())} in iteration {engine.state.iteration}; "
                "lower the learning rate or use --amp_dtype float32."
            )
            raise RuntimeError(msg)
        self._scaler.scale(output["loss"]).backward()
        self._scaler.unscale_(engine.optimizer)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        self._scaler.step(engine.optimizer)
        self._scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        # Decollating and postprocessing have replaced the state's output in between.
        return engine.state.output

    def state_dict(self) -> dict[str, Any]:
        """State of the gradient scaler."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with a gradient scaler's state."""
        if state:
            self._scaler.load_state_dict(state)


class EvaluationUpdate:
    """One validation iteration for `SupervisedEvaluator(iteration_update=...)`.

    Args:
        loss_function: loss of prediction and label; left out for inference.
        precision: number format.
    """

    def __init__(
        self, loss_function: Callable[..., torch.Tensor] | None = None, precision: Precision | None = None
    ) -> None:
        self.loss_function = loss_function
        self.precision = precision or Precision()

    def __call__(self, engine: Any, batch: Any) -> dict[str, Any]:
        """Forward and loss without gradients.

        Args:
            engine: the evaluator.
            batch: item of the data loader.

        Returns:
            `image`, `label` and `pred`; with a loss function also `loss` and `components`.
        """
        image_and_label = _prepare(engine, batch)
        with engine.mode(engine.network):
            output = _forward(engine, image_and_label, self.loss_function, self.precision)
        engine.state.output = output
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        # Decollating and postprocessing have replaced the state's output in between.
        return engine.state.output


def _prepare(engine: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    image, label = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
    return image, label


def _forward(
    engine: Any,
    image_and_label: tuple[torch.Tensor, torch.Tensor],
    loss_function: Callable[..., torch.Tensor] | None,
    precision: Precision,
) -> dict[str, Any]:
    image, label = image_and_label
    with precision.autocast(engine.state.device):
        prediction = engine.inferer(precision.layout(image), engine.network)
        output = {"image": image, "label": label, "pred": prediction}
        if loss_function is None:
            return output
        loss = loss_function(prediction, label)
    components = dict(getattr(loss_function, "last", {})) or {"total": loss.detach()}
    return output | {"loss": loss, "components": components}


class ComponentMeans(Metric):
    """Metric `loss_parts`: mean over an epoch of every part of the loss, each also under its own name."""

    def __init__(self) -> None:
        super().__init__(output_transform=_components)

    def reset(self) -> None:
        """Start an epoch."""
        self._sums: dict[str, torch.Tensor] = {}
        self._n_batches = 0

    def update(self, output: tuple[Mapping[str, torch.Tensor]]) -> None:
        """Add the parts of one iteration."""
        for name, value in output[0].items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        self._n_batches += 1

    def compute(self) -> dict[str, float]:
        """Means by name, over all processes."""
        n_batches = idist.all_reduce(self._n_batches)
        return {name: float(idist.all_reduce(value)) / n_batches for name, value in self._sums.items()}


def _components(output: Mapping[str, Any]) -> tuple[Mapping[str, torch.Tensor]]:
    # Ignite takes a bare mapping for predictions and labels.
    return (output["components"],)


def mean_loss() -> Average:
    """Metric: mean of the total loss over an epoch."""
    return Average(output_transform=_loss)


def _loss(output: Mapping[str, Any]) -> torch.Tensor:
    return output["loss"].detach()


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
    """
    if evaluator.state.epoch != engine.state.epoch:
        return None
    return float(evaluator.state.metrics[VALIDATION_LOSS])


class EpochLog:
    """One CSV row per epoch: mean of every loss part (train and val), learning rate, seconds.

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
        if idist.get_rank() == 0:
            self._write(row)
        logger.info(
            "epoch %d/%d: train %.6f, val %s, %.1f s",
            *(engine.state.epoch, engine.state.max_epochs, train.get("total", float("nan"))),
            *(f"{val['total']:.6f}" if "total" in val else "-", row["seconds"]),
        )

    def _write(self, row: dict[str, Any]) -> None:
        rows = [old for old in read_epoch_log(self.path) if int(old["epoch"]) < row["epoch"]]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.part")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows([*rows, row])
        temporary.replace(self.path)


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
        every: cadence of named checkpoints in epochs; 0 writes improvements only.
        resume: continue from `last.pt` if there is one.
    """

    def __init__(
        self,
        folder: str | Path,
        states: Mapping[str, Stateful],
        evaluator: Any,
        protocol: Mapping[str, Any],
        every: int = 0,
        resume: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.states = dict(states)
        self.evaluator = evaluator
        self.protocol = dict(protocol)
        self.every = every
        self.resume = resume
        self._best: float | None = None

    @property
    def last(self) -> Path:
        """File that a run continues from."""
        return self.folder / "last.pt"

    def attach(self, engine: Engine) -> None:
        """Continue and save this trainer."""
        engine.add_event_handler(Events.STARTED, self._continue)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _continue(self, engine: Engine) -> None:
        if not self.resume or not self.last.is_file():
            return
        checkpoint = load_checkpoint(self.last, self.protocol)
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
        record = {"epoch": epoch, "best": self._best, "val_loss": loss}
        if loss is not None and (improved or (self.every and epoch % self.every == 0)):
            path = self.folder / f"model_epoch{epoch:03d}_val{loss:.6f}.pt"
            save_checkpoint(path, {"model": states["model"], **record}, self.protocol)
        save_checkpoint(self.last, {**states, **record}, self.protocol)


class Progress:
    """Progress bar of the iterations with the current loss, on the first process."""

    def attach(self, engine: Engine) -> None:
        """Show this engine's progress."""
        if idist.get_rank() == 0:
            ProgressBar(persist=False, disable=None).attach(engine, output_transform=_shown)


def _shown(output: Mapping[str, Any]) -> dict[str, float]:
    return {"loss": float(output["loss"].detach())}
