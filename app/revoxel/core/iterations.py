"""One iteration of training or validation, and the means of its losses, on any device.

MONAI's trainers hard-code CUDA autocast, so on a CPU `amp=True` does nothing; `TrainingUpdate` and
`EvaluationUpdate` are the iteration of all our bundles instead. A loss may keep its parts in `last`
(name to detached scalar); they are averaged per epoch by `ComponentMeans`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
import torch
from ignite.metrics import Average, Metric
from monai.engines.utils import IterationEvents

from revoxel.core.compute import CHANNELS_LAST, fast_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Precision:
    """Number format of the forward pass on any device.

    Args:
        dtype: "auto" (bfloat16 where the hardware has it, else float32), "float32", "bfloat16" or "float16".
        channels_last: lay volumes and slices out channels-last, which is the fast layout for half precision.
    """

    def __init__(self, dtype: str = "auto", *, channels_last: bool = True) -> None:
        if dtype not in {"auto", "float32", "bfloat16", "float16"}:
            msg = f"amp_dtype must be auto, float32, bfloat16 or float16, got {dtype!r}; correct the config."
            raise ValueError(msg)
        self.dtype = dtype
        self.channels_last = channels_last

    def resolve(self, device: torch.device) -> torch.dtype:
        """Number format on this device.

        Raises:
            ValueError: If it is float16 without CUDA, where it underflows and nothing is gained.
        """
        if self.dtype == "float16" and device.type != "cuda":
            msg = f"amp_dtype float16 must run on a CUDA device, got {device}; use auto, bfloat16 or float32."
            raise ValueError(msg)
        return fast_dtype(device) if self.dtype == "auto" else getattr(torch, self.dtype)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Autocast context for this device; disabled for float32."""
        dtype = self.resolve(device)
        return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)

    def layout(self, image: torch.Tensor) -> torch.Tensor:
        """The batch in the layout that the network runs fastest on."""
        if self.channels_last and image.ndim in CHANNELS_LAST:
            return image.contiguous(memory_format=CHANNELS_LAST[image.ndim])
        return image


class TrainingUpdate:
    """One training iteration for MONAI's `SupervisedTrainer(iteration_update=...)`.

    Args:
        precision: number format; gradients are scaled for float16 only.
    """

    def __init__(self, precision: Precision | None = None) -> None:
        self.precision = precision or Precision()
        half = self.precision.dtype == "float16" and torch.cuda.is_available()
        self._scaler = torch.amp.GradScaler("cuda", enabled=half)

    def __call__(self, engine: Any, batch: Any) -> dict[str, Any]:
        """Forward, loss, backward, step; fires MONAI's iteration events in between.

        Args:
            engine: the trainer.
            batch: item of the data loader.

        Returns:
            `image`, `label`, `pred`, `loss` and `components`.

        Raises:
            FloatingPointError: If the loss is not finite.
        """
        prepared = _prepare(engine, batch)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        output = _forward(engine, prepared, engine.loss_function, self.precision)
        engine.state.output = output
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        if not torch.isfinite(output["loss"]):
            value = float(output["loss"].detach())
            msg = (
                f"loss must be finite, got {value} in iteration {engine.state.iteration}; "
                "lower the learning rate or use --amp_dtype float32."
            )
            raise FloatingPointError(msg)
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
        prepared = _prepare(engine, batch)
        with engine.mode(engine.network):
            output = _forward(engine, prepared, self.loss_function, self.precision)
        engine.state.output = output
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        # Decollating and postprocessing have replaced the state's output in between.
        return engine.state.output


def _prepare(engine: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Image, label, and what else the network takes by name, as `PrepareBatchExtraInput` gives it."""
    image, label, *further = engine.prepare_batch(
        batch, engine.state.device, engine.non_blocking, **engine.to_kwargs
    )
    return image, label, further[1] if further else {}


def _forward(
    engine: Any,
    prepared: tuple[torch.Tensor, torch.Tensor, dict[str, Any]],
    loss_function: Callable[..., torch.Tensor] | None,
    precision: Precision,
) -> dict[str, Any]:
    image, label, named = prepared
    with precision.autocast(engine.state.device):
        prediction = engine.inferer(precision.layout(image), engine.network, **named)
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
