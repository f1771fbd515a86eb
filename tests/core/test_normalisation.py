"""Fused group normalisation and rectifier: what torch's two layers give, in every layout and precision."""

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from laws import assert_batch_equals_singles, assert_gradient
from revoxel.core.normalisation import GroupNormLeakyReLU

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
SHAPES = [(2, 8, 5, 6, 7), (1, 24, 4, 4, 4), (3, 8, 9, 5)]
N_GROUPS = 4
SLOPE = 0.1


def layers(n_channels: int, dtype: torch.dtype) -> tuple[GroupNormLeakyReLU, nn.Sequential]:
    """The fused layer and torch's two, with the same weights of no special value."""
    fused = GroupNormLeakyReLU(N_GROUPS, n_channels, SLOPE)
    torch.manual_seed(0)
    nn.init.normal_(fused.weight)
    nn.init.normal_(fused.bias)
    norm = nn.GroupNorm(N_GROUPS, n_channels)
    norm.load_state_dict(fused.state_dict())
    return fused.to(dtype), nn.Sequential(norm, nn.LeakyReLU(SLOPE)).to(dtype)


def image(shape, dtype=torch.float64):
    """Channels last, with a mean far from zero, as images have."""
    values = 5 + torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return values.to(dtype).contiguous(memory_format=LAYOUTS[len(shape)]).requires_grad_()


def result_and_gradients(layer, x, gradient):
    result = layer(x)
    return [result, *torch.autograd.grad(result, (x, *layer.parameters()), gradient.to(result.dtype))]


@pytest.mark.reference
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_result_and_gradients_are_those_of_torch(shape, dtype):
    fused, stock = layers(shape[1], dtype)
    gradient = torch.randn(shape)
    ours = result_and_gradients(fused, image(shape, dtype), gradient)
    theirs = result_and_gradients(stock, image(shape, dtype), gradient)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_half_precision_errs_no_more_than_its_rounding(shape):
    fused, stock = layers(shape[1], torch.float32)
    gradient = torch.randn(shape).bfloat16()
    ours = result_and_gradients(fused, image(shape, torch.bfloat16), gradient)
    exact = result_and_gradients(
        stock.double(), image(shape, torch.bfloat16).detach().double().requires_grad_(), gradient
    )
    assert [part.dtype for part in ours] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for own, reference in zip(ours, exact, strict=True):
        assert float((own - reference).detach().norm() / reference.norm()) < 4e-3


def test_gradient_is_that_of_finite_differences():
    fused, _ = layers(8, torch.float64)

    def apply(x, weight, bias):
        return torch.func.functional_call(fused, {"weight": weight, "bias": bias}, x)

    weight, bias = (parameter.detach().clone().requires_grad_() for parameter in fused.parameters())
    x = image((2, 8, 2, 3, 2))
    assert_gradient(apply, x, weight, bias)


@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
def test_layout_and_format_are_kept(layout):
    fused, _ = layers(8, torch.float32)
    x = image((2, 8, 3, 4, 5), torch.bfloat16).detach().contiguous(memory_format=layout)
    result = fused(x)
    assert result.dtype == x.dtype
    assert result.is_contiguous(memory_format=layout)


def test_samples_of_a_batch_do_not_meet():
    fused, _ = layers(8, torch.float64)
    assert_batch_equals_singles(fused, image((3, 8, 4, 5, 6)).detach(), tolerance=1e-12)


def test_gradient_that_arrives_in_another_layout_is_understood():
    """The gradient behind a concatenation is a part of a wider tensor."""
    fused, stock = layers(8, torch.float64)
    shape = (2, 8, 3, 4, 5)
    wide = torch.randn(2, 16, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    for gradient in (
        wide[:, 4:12],
        torch.randn(shape, dtype=torch.float64),
        torch.ones(()).double().expand(shape),
    ):
        ours = result_and_gradients(fused, image(shape), gradient)
        torch.testing.assert_close(ours, result_and_gradients(stock, image(shape), gradient))


def test_tensor_with_metadata_stays_one():
    fused, _ = layers(8, torch.float32)
    plain = image((2, 8, 3, 4, 5), torch.float32)
    gradient = torch.ones(plain.shape)
    meta = MetaTensor(plain.detach(), affine=2 * torch.eye(4)).requires_grad_()
    with_metadata = result_and_gradients(fused, meta, gradient)
    assert isinstance(with_metadata[0], MetaTensor)
    for own, expected in zip(with_metadata, result_and_gradients(fused, plain, gradient), strict=True):
        torch.testing.assert_close(own.as_subclass(torch.Tensor), expected)


def test_constant_image_gives_the_bias_and_a_finite_gradient():
    fused, _ = layers(8, torch.float32)
    x = torch.full((1, 8, 4, 4, 4), 3.0).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    result = fused(x)
    expected = nn.functional.leaky_relu(fused.bias, SLOPE)[None, :, None, None, None].expand_as(result)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-3)
    result.sum().backward()
    assert bool(x.grad.isfinite().all())


def test_traced_layer_holds_only_operators_that_others_know():
    fused, _ = layers(8, torch.float32)
    x = image((1, 8, 4, 5, 6), torch.float32).detach()
    traced = torch.jit.trace(fused, x)
    assert "PythonOp" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), fused(x), rtol=1e-5, atol=1e-5)


def test_weights_of_the_two_layers_fit():
    fused, stock = layers(8, torch.float32)
    assert list(fused.state_dict()) == list(stock[0].state_dict())


def test_slope_that_hides_the_sign_is_refused():
    with pytest.raises(ValueError, match=r"slope must be positive, got 0"):
        GroupNormLeakyReLU(4, 8, slope=0)
