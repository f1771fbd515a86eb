"""Networks as estimators of maps: one or several of them, with dropout or mirrored, window by window."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from revoxel.asl.network.ensemble import MAPS, merged_runs
from revoxel.asl.network.inputs import SliceData, stack_input
from revoxel.asl.quantification.estimation import PerfusionMaps
from revoxel.core.compute import autocast, resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from revoxel.asl.fitting.fit import AslFit
    from revoxel.asl.network.models import AslModel
    from revoxel.asl.quantification.estimation import MapProblem

_FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
_SMALLEST_WINDOW = 16


@dataclass(frozen=True)
class InferenceOptions:
    """How networks are run.

    Args:
        flips: Average over the slice and its three mirror images.
        dropout_samples: Runs with dropout on, whose scatter adds to the standard deviation; 0 for none.
        window: Side of the windows in pixels, blended by a Gaussian; 0 runs whole slices.
        overlap: Share of a window that the next one repeats.
        batch_size: Slices or windows at once.
        device: auto, cpu or cuda:N.

    Raises:
        ValueError: If a number is out of range.
    """

    flips: bool = True
    dropout_samples: int = 0
    window: int = 0
    overlap: float = 0.5
    batch_size: int = 8
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.window and self.window < _SMALLEST_WINDOW:
            msg = f"window must be >= {_SMALLEST_WINDOW} pixels, or 0 for none, got {self.window}; use 64."
            raise ValueError(msg)
        if self.dropout_samples < 0 or self.batch_size < 1 or not 0 <= self.overlap < 1:
            msg = f"dropout_samples and overlap must be >= 0 and batch_size >= 1, got {self}; correct them."
            raise ValueError(msg)


class NetworkEstimator:
    """Maps from one network or the mean of several (a `MapEstimator`).

    The standard deviation contains what every network states and how much they differ.

    Args:
        models: Trained networks.
        options: How they are run.

    Raises:
        ValueError: If there is no network, or dropout is asked of one that has none.
    """

    def __init__(self, models: Sequence[AslModel], options: InferenceOptions | None = None) -> None:
        self.models, self.options = tuple(models), options or InferenceOptions()
        self.device = resolve_device(self.options.device)
        if not self.models:
            msg = "models must be one network or more, got none; give a checkpoint."
            raise ValueError(msg)
        for model in self.models:
            model.network.to(self.device).eval()
            if self.options.dropout_samples and not _dropouts(model.network):
                msg = f"{model.path} must have dropout for dropout_samples, got none; train it with dropout."
                raise ValueError(msg)

    def __call__(self, problem: MapProblem, fit: AslFit[Any]) -> PerfusionMaps:
        """Estimate the maps of slices.

        Args:
            problem: Slices that share their delays.
            fit: The fit's answer, with its posterior.

        Returns:
            The maps; 0 outside the mask.

        Raises:
            ValueError: If a network is not made for these delays, or the noise is not known.
        """
        for model in self.models:
            check_suits(model, problem)
        runs = [values for model in self.models for values in self._runs(model, problem, fit)]
        known = problem.mask & ~fit.dropped
        merged = merged_runs([run.double() for run in runs]).movedim(0, -1).numpy() * known
        return PerfusionMaps(**dict(zip(MAPS, merged.astype(np.float32), strict=True)))

    def _runs(self, model: AslModel, problem: MapProblem, fit: AslFit[Any]) -> Iterator[Tensor]:
        """Each run's `(slice, 4, i, j)`."""
        image = _input(model, problem, fit)
        n_samples = self.options.dropout_samples
        with _dropout_on(model.network) if n_samples else nullcontext():
            for _ in range(max(1, n_samples)):
                for axes in _FLIPS if self.options.flips else _FLIPS[:1]:
                    yield self._run(model.network, image.flip(axes)).flip(axes)

    @torch.no_grad()
    def _run(self, network: nn.Module, image: Tensor) -> Tensor:
        def predict(part: Tensor) -> Tensor:
            with autocast(self.device):
                maps = network(part)
            return torch.cat([maps[name].float() for name in MAPS], dim=1)

        batches = image.split(self.options.batch_size)
        return torch.cat([self._stitched(part.to(self.device), predict).cpu() for part in batches])

    def _stitched(self, image: Tensor, predict: Callable[[Tensor], Tensor]) -> Tensor:
        if not self.options.window:
            return predict(image)
        inferer = SlidingWindowInferer(
            (self.options.window,) * 2, self.options.batch_size, self.options.overlap, mode="gaussian"
        )
        stitched: Tensor = inferer(image, predict)
        return stitched


def check_suits(model: AslModel, problem: MapProblem) -> None:
    """Refuse a network that was made for other delays.

    Args:
        model: The network.
        problem: Slices that share their delays.

    Raises:
        ValueError: If the delays differ; both are named.
    """
    if not model.any_protocol and model.protocol != problem.protocol:
        msg = (
            f"{model.path} must be used with its own delays ({', '.join(model.protocol.labels)}), got "
            f"{', '.join(problem.protocol.labels)}; use a network for any delays, or the fit."
        )
        raise ValueError(msg)


def _input(model: AslModel, problem: MapProblem, fit: AslFit[Any]) -> Tensor:
    """Slices as a batch."""

    def batch(values: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, 2, 0)))

    mask = batch(problem.mask)
    sigma = None
    if problem.sigma is not None:
        level = float(np.sqrt(np.mean(np.square(problem.sigma))))
        sigma = torch.full((len(mask),), level, dtype=torch.float32)
    maps = {name: None if values is None else batch(values) for name, values in vars(fit).items()}
    data = SliceData(batch(problem.dm).movedim(-1, 1).float(), mask, sigma)
    channels = model.network.channels
    return stack_input(data, replace(fit, **maps), problem.physics, channels).float()  # type: ignore[arg-type]


def _dropouts(network: nn.Module) -> list[nn.Module]:
    return [part for part in network.modules() if isinstance(part, nn.Dropout2d) and part.p > 0]


@contextmanager
def _dropout_on(network: nn.Module) -> Iterator[None]:
    for part in _dropouts(network):
        part.train()
    try:
        yield
    finally:
        network.eval()
