"""On a GPU the package's loss, metric and layers are those of the processor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from revoxel.core.compute import autocast, fast_dtype
from revoxel.core.normalisation import GroupNormLeakyReLU
from revoxel.core.ssim import mean_ssim, volume_ssim_map
from revoxel.sagnef import SAGNEFLoss

pytestmark = pytest.mark.cuda
LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def volumes(n: int, *shape: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator, dtype=dtype) for _ in range(n)]


def value_and_gradients(function, *tensors: torch.Tensor) -> list[torch.Tensor]:
    inputs = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*inputs)
    return [part.detach().cpu() for part in (value, *torch.autograd.grad(value, inputs))]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_ssim_and_its_gradient_are_those_of_the_processor(device, dtype, tolerance) -> None:
    pair = volumes(2, 2, 1, 17, 15, 16, dtype=dtype)
    mask = (volumes(1, 2, 1, 17, 15, 16)[0] > 0.001).to(dtype)
    here = value_and_gradients(lambda x, y: mean_ssim(x, y, mask=mask), *pair)
    moved = (tensor.to(device) for tensor in pair)
    there = value_and_gradients(lambda x, y: mean_ssim(x, y, mask=mask.to(device)), *moved)
    torch.testing.assert_close(there, here, rtol=tolerance, atol=tolerance)


def test_ssim_of_whole_volumes_is_that_of_the_processor(device) -> None:
    first, second = volumes(2, 40, 120, 110)
    there = volume_ssim_map(first.to(device), second.to(device))
    assert there.device.type == device.type
    torch.testing.assert_close(there.cpu(), volume_ssim_map(first, second), rtol=1e-4, atol=1e-4)


def test_loss_and_its_gradient_are_those_of_the_processor(device) -> None:
    fused, truth = volumes(2, 2, 1, 12, 14, 13)
    logits, criterion = volumes(1, 2, 4, 12, 14, 13)[0], SAGNEFLoss()

    def total(y_hat: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return criterion(y_hat, truth.to(y_hat.device), scores.softmax(dim=1))["total"]

    here = value_and_gradients(total, fused, logits)
    there = value_and_gradients(total, fused.to(device), logits.to(device))
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("half", [False, True], ids=["float32", "autocast"])
def test_normalisation_is_that_of_two_layers_of_torch(device, layout, half) -> None:
    fused = GroupNormLeakyReLU(4, 8, 0.1).to(device)
    nn.init.normal_(fused.weight)
    norm = nn.GroupNorm(4, 8).to(device)
    norm.load_state_dict(fused.state_dict())
    stock = nn.Sequential(norm, nn.LeakyReLU(0.1))
    dtype = fast_dtype(device) if half else torch.float32
    image, gradient = torch.randn((2, 2, 8, 6, 5, 7), generator=torch.Generator().manual_seed(0))
    x = (5 + image).to(device, dtype).contiguous(memory_format=layout)

    def result_and_gradients(layer: nn.Module) -> list[torch.Tensor]:
        source = x.clone().requires_grad_()
        with autocast(device):
            result = layer(source)
        incoming = gradient.to(result)
        return [result, *torch.autograd.grad(result, (source, *layer.parameters()), incoming)]

    tolerance = {"rtol": 0.02, "atol": 0.1} if dtype is not torch.float32 else {"rtol": 1e-4, "atol": 1e-4}
    ours, theirs = result_and_gradients(fused), result_and_gradients(stock)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.float(), other.float(), **tolerance)
