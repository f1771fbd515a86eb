"""The band gate weighs frequencies and moves nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from revoxel.ct.detail.gate import CORNER, RadialBandGate, radial_frequency

SIDES = st.tuples(*[st.integers(2, 9)] * 3)


def random_gate(channels: int = 2, bands: int = 5, seed: int = 0) -> RadialBandGate:
    gate = RadialBandGate(channels, bands)
    generator = torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(gate.weight, std=2.0, generator=generator)
    return gate


@settings(max_examples=15, deadline=None)
@given(SIDES)
def test_zero_weights_are_the_identity_for_odd_and_even_sides(sides):
    features = torch.randn(1, 2, *sides)
    assert torch.equal(RadialBandGate(2)(features), features)


@settings(max_examples=15, deadline=None)
@given(SIDES)
def test_inverse_transform_loses_no_imaginary_part(sides):
    features = torch.randn(1, 2, *sides, generator=torch.Generator().manual_seed(1))
    gate = random_gate()
    full = torch.fft.fftn(features, dim=(-3, -2, -1))
    axes = [torch.fft.fftfreq(side) for side in sides]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    position = radius * ((gate.weight.shape[1] - 1) / CORNER)
    lower = position.floor().long().clamp(max=gate.weight.shape[1] - 2)
    knots = 2 * torch.sigmoid(gate.weight)
    gain = torch.lerp(knots[:, lower], knots[:, lower + 1], position - lower)
    expected = torch.fft.ifftn(full * gain, dim=(-3, -2, -1))
    assert expected.imag.abs().max() < 1e-5
    torch.testing.assert_close(gate(features), expected.real, atol=1e-5, rtol=1e-4)


def test_a_wave_keeps_its_phase_and_a_point_its_place():
    gate = random_gate()
    wave = torch.cos(2 * torch.pi * (2 * torch.arange(16) / 16) + 0.7).expand(1, 2, 16, 16, 16)
    ratio = gate(wave) / wave
    assert ratio.std(dim=(2, 3, 4)).max() < 1e-3
    assert (ratio > 0).all()
    point = torch.zeros(1, 2, 9, 9, 9)
    point[..., 4, 4, 4] = 1
    answer = gate(point)
    torch.testing.assert_close(answer, answer.flip((2, 3, 4)), atol=1e-6, rtol=0)


def test_gains_are_positive_and_act_on_their_band_alone():
    gate = RadialBandGate(1, 4)
    with torch.no_grad():
        gate.weight[0, -1] = -50.0
    constant = torch.ones(1, 1, 8, 8, 8)
    torch.testing.assert_close(gate(constant), constant)
    checkers = torch.ones(8).mul((-1.0) ** torch.arange(8))
    corner = checkers[:, None, None] * checkers[:, None] * checkers
    assert gate(corner[None, None]).abs().max() < 1e-5


def test_half_precision_goes_in_and_comes_out():
    features = torch.randn(1, 2, 5, 6, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weighed = random_gate()(features.bfloat16())
    assert weighed.dtype == torch.bfloat16
    torch.testing.assert_close(weighed.float(), random_gate()(features), atol=0.1, rtol=0.05)


def test_highest_frequency_is_the_corner():
    assert radial_frequency((4, 4, 4)).max() == pytest.approx(CORNER)
    with pytest.raises(ValueError, match="bands must be >= 2, got 1"):
        RadialBandGate(4, 1)
