"""On a GPU the gate computes and learns what it does on the processor."""

from __future__ import annotations

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.inferers import sliding_window_inference

from revoxel.core.hann_inferer import HannSlidingWindowInferer
from revoxel.core.iterations import Precision, TrainingUpdate
from revoxel.core.training import place
from revoxel.core.windows import FastWindowInferer
from revoxel.sagnef import SAGNEF
from revoxel.sagnef.loss import TrainerLoss

pytestmark = pytest.mark.cuda
N_EXPERTS, N_STEPS = 4, 25


def gate() -> SAGNEF:
    torch.manual_seed(0)
    return SAGNEF(N_EXPERTS + 1, N_EXPERTS, wf=8, residual=True)


def stack_and_truth(side: int, n_volumes: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth truth, and four blurred and noisy stand-ins for experts, the first of them twice."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((n_volumes, 1, *[side // 4] * 3), generator=generator)
    truth = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="trilinear")
    blurred = [torch.nn.functional.avg_pool3d(truth, k, 1, k // 2) for k in (7, 5, 3, 5)]
    experts = torch.cat(blurred, dim=1)
    experts = experts + 0.02 * torch.randn(experts.shape, generator=generator)
    return torch.cat([experts[:, :1], experts], dim=1), truth


def peak_error(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first.cpu() - second.cpu()).abs().max())


def test_exact_windows_are_those_of_the_processor(device, no_tensor_float) -> None:
    stack, network = stack_and_truth(40)[0], gate().eval()
    inferer = HannSlidingWindowInferer(24)
    with torch.no_grad():
        here = inferer(stack, network)
        there = inferer(stack.to(device), network.to(device))
    for own, other in zip(there, here, strict=True):
        assert own.device.type == device.type
        assert peak_error(own, other) < 1e-3


def test_fast_windows_are_near_stock_inference_in_float32(device) -> None:
    """Other windows in half precision: an error that a plain mean of the experts makes threefold."""
    stack, network = stack_and_truth(64)[0], gate().eval()
    with torch.no_grad():
        stock, _ = sliding_window_inference(stack, 32, 1, network, 0.5, mode="gaussian")
    fast, weights = FastWindowInferer(32, memory_gb=0.1)(stack.to(device), network.to(device))
    assert fast.dtype == torch.float32
    assert float((fast.cpu() - stock).square().mean().sqrt()) < 0.015
    torch.testing.assert_close(weights.sum(dim=1).cpu(), torch.ones(1, *fast.shape[2:]), atol=1e-3, rtol=0)


def trained(device: torch.device, dtype: str, side: int = 24) -> list[float]:
    """Losses of the trainer of the bundles on one batch."""
    precision = Precision(dtype)
    network = place(gate(), device, precision)
    image, label = stack_and_truth(side, n_volumes=2)
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=[{"image": image, "label": label}] * N_STEPS,
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=3e-3),
        loss_function=TrainerLoss(),
        iteration_update=TrainingUpdate(precision),
        decollate=False,
    )
    trainer.add_event_handler(
        "ITERATION_COMPLETED", lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.run()
    return losses


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
def test_training_in_half_precision_begins_as_on_the_processor_and_learns(device, dtype) -> None:
    exact = trained(torch.device("cpu"), "float32")
    losses = trained(device, dtype)
    assert losses[0] == pytest.approx(exact[0], rel=0.02)
    assert losses[-1] < 0.8 * losses[0]
    # In float16 the first steps may be left out, until the scale of the gradients fits.
    assert losses[-1] < 1.5 * exact[-1]
