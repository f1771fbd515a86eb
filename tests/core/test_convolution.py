"""The package's convolutions are torch's, and their gradients are right."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.nn import functional

from revoxel.core.convolution import Conv3x3x3, DoublingConv3d, _Convolution, weight_gradient

BF16_ROUNDING = 0.006


def channels_last(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)


def relative_error(value: Tensor, truth: Tensor) -> float:
    return float((value - truth).norm() / truth.norm())


def gradients(layer: nn.Module, x: Tensor, incoming: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Result, then the gradients of the input and of every parameter."""
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        result = layer(x)
    return result.detach(), *torch.autograd.grad(result, [x, *layer.parameters()], incoming.to(result.dtype))


@pytest.mark.parametrize("shape", [(2, 3, 2, 1, 4), (1, 5, 6, 5, 3), (2, 2, 8, 3, 2)])
def test_winograd_weight_gradient_is_exact(shape: tuple[int, ...]) -> None:
    """The identity, without rounding: double precision against torch's own gradient."""
    x = channels_last(*shape, dtype=torch.float64)
    weight = torch.zeros(4, shape[1], 3, 3, 3, dtype=torch.float64, requires_grad=True)
    incoming = channels_last(shape[0], 4, *shape[2:], dtype=torch.float64)
    functional.conv3d(x, weight, padding=1).backward(incoming)
    torch.testing.assert_close(weight_gradient(x, incoming), weight.grad)


@pytest.mark.parametrize("sides", [(8, 8, 8), (10, 9, 12), (16, 8, 10)])
@pytest.mark.parametrize(("n_in", "n_out"), [(5, 24), (24, 24), (24, 48), (48, 8)])
def test_half_precision_agrees_with_float32(sides: tuple[int, ...], n_in: int, n_out: int) -> None:
    layer = Conv3x3x3(n_in, n_out)
    x, incoming = channels_last(2, n_in, *sides), channels_last(2, n_out, *sides)
    exact = gradients(layer, x, incoming, torch.float32)
    half = gradients(layer, x, incoming, torch.bfloat16)
    assert all(relative_error(value, truth) < BF16_ROUNDING for value, truth in zip(half, exact, strict=True))
    assert all(value.dtype == torch.float32 for value in half[1:])


@pytest.mark.parametrize("n_out", [8, 16, 24])
def test_result_in_half_precision_errs_no_more_than_torch(n_out: int) -> None:
    layer, x = Conv3x3x3(8, n_out), channels_last(1, 8, 8, 8, 10)
    exact = functional.conv3d(x, layer.weight, layer.bias, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        stock = functional.conv3d(x, layer.weight, layer.bias, padding=1)
        own = layer(x)
    assert own.is_contiguous(memory_format=torch.channels_last_3d)
    assert relative_error(own, exact) < 1.1 * relative_error(stock, exact)


def test_tensors_of_monai_keep_their_type() -> None:
    layers = nn.Sequential(Conv3x3x3(4, 8), DoublingConv3d(8, 4))
    x = channels_last(1, 4, 8, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert isinstance(layers(MetaTensor(x)), MetaTensor)


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (channels_last(1, 8, 8, 8, 8), torch.float32),
        (channels_last(1, 8, 8, 8, 8).contiguous(), torch.bfloat16),
        (channels_last(1, 8, 9, 8, 8), torch.bfloat16),
        (channels_last(1, 8, 8, 8, 9), torch.bfloat16),
        (channels_last(1, 8, 2, 2, 2), torch.bfloat16),
    ],
    ids=["float32", "channels first", "odd depth", "odd width", "tiny map"],
)
def test_other_formats_and_sizes_keep_the_gradient_of_torch(x: Tensor, dtype: torch.dtype) -> None:
    layer = Conv3x3x3(8, 16)
    torch_layer = nn.Conv3d(8, 16, 3, padding=1)
    torch_layer.load_state_dict(layer.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert layer(x).grad_fn.name() == torch_layer(x).grad_fn.name()


@pytest.mark.parametrize("channels", [8, 16, 24])
def test_half_precision_with_channels_last_takes_the_rearranged_way(channels: int) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = Conv3x3x3(channels, channels)(channels_last(1, channels, 8, 8, 8))
    assert "_Convolution" in result.grad_fn.name()
    assert "Convolution" not in DoublingConv3d(8, 8)(channels_last(1, 8, 4, 4, 4)).grad_fn.name()


@pytest.mark.parametrize("n_out", [8, 17, 24])
def test_the_rearranged_way_is_exact_in_double_precision(n_out: int) -> None:
    x = channels_last(2, 24, 8, 9, 10, dtype=torch.float64).requires_grad_()
    incoming = channels_last(2, n_out, 8, 9, 10, dtype=torch.float64)
    weight, bias = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((n_out, 24, 3, 3, 3), n_out)
    )
    own, stock = _Convolution.apply(x, weight, bias), functional.conv3d(x, weight, bias, padding=1)
    torch.testing.assert_close(own, stock)
    torch.testing.assert_close(
        torch.autograd.grad(own, [x, weight, bias], incoming),
        torch.autograd.grad(stock, [x, weight, bias], incoming),
    )


def test_double_precision_stays_so_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = Conv3x3x3(24, 24).double()(channels_last(1, 24, 8, 8, 8, dtype=torch.float64))
    assert result.dtype == torch.float64


def test_input_without_gradient_gets_none() -> None:
    layer, x = Conv3x3x3(8, 16), channels_last(1, 8, 8, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x).sum().backward()
    assert x.grad is None
    assert layer.weight.grad is not None


@pytest.mark.parametrize("sides", [(1, 1, 1), (2, 3, 4)])
def test_doubling_is_the_transposed_convolution(sides: tuple[int, ...]) -> None:
    layer, stock = DoublingConv3d(6, 5).double(), nn.ConvTranspose3d(6, 5, 2, stride=2).double()
    layer.load_state_dict(stock.state_dict())
    x = channels_last(2, 6, *sides, dtype=torch.float64)
    incoming = channels_last(2, 5, *(2 * side for side in sides), dtype=torch.float64)
    pairs = zip(
        gradients(layer, x, incoming, torch.float64),
        gradients(stock, x, incoming, torch.float64),
        strict=True,
    )
    for own, expected in pairs:
        torch.testing.assert_close(own, expected)


def test_doubling_in_half_precision_agrees_with_float32_and_keeps_the_layout() -> None:
    layer, x, incoming = DoublingConv3d(16, 8), channels_last(1, 16, 4, 4, 4), channels_last(1, 8, 8, 8, 8)
    exact = gradients(layer, x, incoming, torch.float32)
    half = gradients(layer, x, incoming, torch.bfloat16)
    assert all(relative_error(value, truth) < BF16_ROUNDING for value, truth in zip(half, exact, strict=True))
    assert half[0].is_contiguous(memory_format=torch.channels_last_3d)


def test_traced_layers_consist_of_torchs_own_operators() -> None:
    layers = nn.Sequential(Conv3x3x3(4, 4), DoublingConv3d(4, 4))
    traced = torch.jit.trace(layers, channels_last(1, 4, 8, 8, 8))
    names = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not names & {"aten::matmul", "aten::linear"}
    assert "aten::_convolution" in names
