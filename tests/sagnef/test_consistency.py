import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laws import assert_gradient
from revoxel.core.metrics import psnr
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import SliceOperator
from revoxel.sagnef.consistency import (
    LEAST_CONFIDENCE,
    MU_KNOWN,
    consistency_strength,
    data_consistency,
)


def operator(n_high=32, separation_mm=5.0, profile="gauss:5"):
    n_low = math.ceil(n_high / separation_mm)
    return SliceOperator.build(n_low, n_high, 1.0, separation_mm, SliceProfile.parse(profile))


def columns(n, seed, dtype=torch.float64):
    return torch.rand((3, 4, n), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(deadline=None, max_examples=20)
@given(
    n_high=st.integers(15, 40),
    separation_mm=st.floats(2.5, 7.0),
    profile=st.sampled_from(["gauss:5", "rect:5", "gauss:3"]),
    mu=st.floats(1e-4, 1.0),
)
def test_simulated_slices_move_towards_the_measured_ones(n_high, separation_mm, profile, mu):
    thick = operator(n_high, separation_mm, profile)
    volume, low = columns(n_high, 0), columns(thick.n_low, 1)
    before = (low - thick.forward(volume)).norm()
    after = (low - thick.forward(data_consistency(volume, low, thick, mu))).norm()
    assert after < before


def test_full_trust_in_the_slices_reproduces_them():
    thick = operator()
    volume, low = columns(32, 0), columns(thick.n_low, 1)
    corrected = data_consistency(volume, low, thick, mu=1e-12)
    torch.testing.assert_close(thick.forward(corrected), low, rtol=1e-6, atol=1e-6)


def test_step_is_the_minimiser_it_claims_to_be():
    thick = operator()
    low, mu = columns(thick.n_low, 1), 0.1
    volume = columns(32, 0)
    corrected = data_consistency(volume, low, thick, mu)
    gradient = mu * (corrected - volume) - thick.adjoint(low - thick.forward(corrected))
    assert gradient.abs().max() < 1e-12


def test_consistent_volume_is_left_alone():
    thick = operator()
    volume = columns(32, 0)
    torch.testing.assert_close(data_consistency(volume, thick.forward(volume), thick, 0.02), volume)


def test_constant_volume_stays_that_constant():
    thick = operator()
    volume = torch.full((3, 4, 32), 0.7)
    assert torch.equal(data_consistency(volume, torch.full((3, 4, thick.n_low), 0.7), thick), volume)


def test_constant_background_beside_tissue_stays_exactly_that_constant():
    thick = operator(n_high=60)
    low = torch.full((3, 4, thick.n_low), -0.25)
    low[:, :, 4:7] = columns(3, 0, torch.float32)
    background = thick.background(low)
    volume = torch.where(background, -0.25, columns(60, 1, torch.float32))
    corrected = data_consistency(volume, low, thick)
    assert bool(background[..., :10].all())
    assert not bool(background[..., 25:30].any())
    assert torch.equal(corrected[background], volume[background])
    assert bool((corrected != volume)[~background].all())


def test_volume_without_a_background_is_corrected_everywhere():
    thick = operator()
    low = columns(thick.n_low, 1)
    assert not thick.background(low).any()


def test_voxels_in_a_gap_between_slices_are_left_alone():
    thick = operator(profile="rect:2")
    gap = thick.matrix.sum(dim=0) == 0
    volume, low = columns(32, 0), columns(thick.n_low, 1)
    assert bool(gap.any())
    torch.testing.assert_close(data_consistency(volume, low, thick)[..., gap], volume[..., gap])


def test_gradient_equals_finite_differences():
    thick = operator(n_high=10)
    volume, low = columns(10, 0)[:1, :2], columns(thick.n_low, 1)[:1, :2]
    assert_gradient(lambda v: data_consistency(v, low, thick), volume.requires_grad_())


@pytest.mark.parametrize(("assumed", "helps"), [("rect:5", True), ("gauss:3.35", True), ("gauss:6", False)])
def test_profile_of_the_right_width_helps_and_a_wide_one_harms(brain, assumed, helps):
    # gauss:3.35 has the variance of rect:5, which is all that the estimator finds out.
    truth = torch.tensor(brain[..., :35])
    low = operator(35, 5.0, "rect:5").forward(truth)
    interpolated = torch.nn.functional.interpolate(low, size=35, mode="linear")
    before, after = (
        psnr(volume.numpy(), truth.numpy(), data_range=140.0)
        for volume in (interpolated, data_consistency(interpolated, low, operator(35, 5.0, assumed)))
    )
    assert (after > before + 0.1) if helps else (after < before)


def test_strength_fades_out_before_the_step_is_switched_off():
    assert consistency_strength(1.0) == MU_KNOWN
    strengths = [consistency_strength(confidence) for confidence in (1.0, 0.9, 0.7, 0.55, 0.501)]
    assert strengths == sorted(strengths)
    assert strengths[-1] > 100 * MU_KNOWN
    assert consistency_strength(LEAST_CONFIDENCE) is None
    assert consistency_strength(0.0) is None


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_impossible_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        consistency_strength(confidence)


def test_wrong_shapes_and_negative_strength_are_refused():
    thick = operator()
    volume, low = columns(32, 0), columns(thick.n_low, 1)
    with pytest.raises(ValueError, match="slice axis last"):
        data_consistency(volume, low[..., 1:], thick)
    with pytest.raises(ValueError, match="slice axis last"):
        data_consistency(volume[1:], low, thick)
    with pytest.raises(ValueError, match="mu must be"):
        data_consistency(volume, low, thick, -1.0)
