"""Fusion: convex where it says so, exact in the background, safe when the gate goes wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from revoxel.core.geometry import Grid
from revoxel.core.volumes import Volume
from revoxel.experts.names import Expert
from revoxel.experts.prepare import prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate
from revoxel.sagnef.fusion import Fused, FusionSettings, ScanData, fuse, mix_globally
from revoxel.sagnef.network import SAGNEF
from revoxel.sagnef.stack import ExpertStack, ProfileWidths, intensity_of

PROFILE = SliceProfile.gauss(4.0)
WIDTHS = ProfileWidths(0.4, 0.4, 1.0)
MEAN = [0.25, 0.25, 0.25, 0.25]


@pytest.fixture(scope="module")
def scan(brain, brain_affine) -> Volume:
    """Thick slices of a small brain on a background of exactly 7."""
    truth = np.where(brain > 0, brain, np.float32(7.0))
    volume = Volume(truth[..., :32], Grid((40, 44, 32), brain_affine))
    return simulate(volume, profile=PROFILE, separation_mm=4.0, axis=2)


@pytest.fixture(scope="module")
def stack(scan) -> ExpertStack:
    """Four stand-ins that differ in the brain and agree outside."""
    prepared = prepare(scan, PROFILE)
    repeated = torch.repeat_interleave(prepared.problem.low, 4, dim=2)
    smooth = prepared.problem.operator.adjoint(prepared.problem.low)
    smooth = smooth / prepared.problem.operator.adjoint(torch.ones_like(prepared.problem.low))
    fine = (repeated, smooth, 1.5 * repeated - 0.5 * smooth, 0.5 * (repeated + smooth))
    experts = {expert: prepared.restore(volume) for expert, volume in zip(Expert, fine, strict=True)}
    return ExpertStack(experts, experts[Expert.BSPLINE], prepared.high_grid, 2, intensity_of(scan))


@pytest.fixture(scope="module")
def scan_data(scan) -> ScanData:
    prepared = prepare(scan, PROFILE)
    return ScanData(prepared.low, prepared.problem.operator)


def _gate(**options: bool) -> SAGNEF:
    torch.manual_seed(0)
    gate = SAGNEF(in_ch=8, n_experts=4, wf=8, n_profile=3, **options).eval()
    gate.set_simplex_start([0.1, 0.2, 0.6, 0.1])
    return gate


def test_mean_is_the_mean(stack) -> None:
    fused = fuse(stack, MEAN)
    np.testing.assert_allclose(fused.volume, np.mean(list(stack.experts.values()), axis=0), atol=1e-3)
    np.testing.assert_allclose(fused.weights, 0.25)


@pytest.mark.parametrize("exact", [True, False])
def test_gate_at_its_simplex_start_is_the_global_blend(stack, exact) -> None:
    """Head weights of zero: every window gives the same weights, so stitching must not show."""
    settings = FusionSettings(window=16, exact=exact)
    fused = fuse(stack, _gate(), widths=WIDTHS, settings=settings)
    expected = fuse(stack, [0.1, 0.2, 0.6, 0.1])
    scale = 1 / stack.intensity.scale
    np.testing.assert_allclose(
        fused.volume, expected.volume, atol=2e-2 * scale if not exact else 1e-4 * scale
    )
    np.testing.assert_allclose(fused.weights.sum(axis=0), 1, atol=1e-4)


def test_constant_background_is_kept_to_the_last_bit(stack, scan_data) -> None:
    fused = fuse(
        stack, _gate(residual=True), widths=WIDTHS, scan=scan_data, settings=FusionSettings(window=16)
    )
    outside = stack.agreement()
    assert outside.mean() > 0.2
    assert set(np.unique(fused.volume[outside])) == {np.float32(7.0)}


def test_consistency_brings_the_result_closer_to_the_slices(stack, scan_data) -> None:
    before = fuse(stack, MEAN, scan=scan_data, settings=FusionSettings(consistency=False))
    after = fuse(stack, MEAN, scan=scan_data)
    assert before.report["consistency_mu"] is None
    assert after.report["consistency_mu"] == pytest.approx(0.02)
    assert _misfit(after, scan_data) < 0.2 * _misfit(before, scan_data)


def test_consistency_is_off_when_the_profile_is_not_trusted(stack, scan_data) -> None:
    fused = fuse(stack, MEAN, scan=replace(scan_data, confidence=0.2))
    assert fused.report["consistency_mu"] is None
    np.testing.assert_array_equal(fused.volume, fuse(stack, MEAN).volume)


def test_gate_gone_wild_is_replaced_by_global_weights(stack, scan_data) -> None:
    gate = _gate(residual=True)
    with torch.no_grad():
        for parameter in gate.head.parameters():
            parameter.normal_(std=30.0)
    settings = FusionSettings(window=16, consistency=False, fallback=[0.0, 0.0, 1.0, 0.0])
    fused = fuse(stack, gate, widths=WIDTHS, scan=scan_data, settings=settings)
    assert "than every expert" in fused.report["fallback"]
    np.testing.assert_allclose(fused.volume, stack.experts[Expert.SMORE], atol=1e-2)


def test_slice_axis_may_be_any(stack) -> None:
    """Fusing a volume whose axes are permuted permutes the result."""
    experts = {name: np.moveaxis(data, 2, 0).copy() for name, data in stack.experts.items()}
    low = np.moveaxis(stack.low_on_high, 2, 0)
    grid = Grid(low.shape, np.eye(4))
    turned = ExpertStack(experts, low, grid, 0, stack.intensity)
    settings = FusionSettings(window=16, exact=True)
    expected = fuse(stack, _gate(), widths=WIDTHS, settings=settings).volume
    result = fuse(turned, _gate(), widths=WIDTHS, settings=settings).volume
    np.testing.assert_allclose(np.moveaxis(result, 0, 2), expected, atol=1e-4)


def test_gate_for_other_channels_is_refused(stack) -> None:
    with pytest.raises(ValueError, match=r"must read 8 channels.*got one for 7"):
        fuse(stack, SAGNEF(in_ch=7, n_experts=3, wf=8, n_profile=3), widths=WIDTHS)


def test_gate_with_profile_planes_needs_the_profile(stack) -> None:
    with pytest.raises(ValueError, match="pass ProfileWidths"):
        fuse(stack, _gate())


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6, 0.0, 0.0], [-0.5, 0.5, 0.5, 0.5]])
def test_weights_off_the_simplex_are_refused(weights) -> None:
    with pytest.raises(ValueError, match="non-negative numbers that sum to 1"):
        mix_globally(torch.zeros(1, 4, 2, 2, 2), weights)


def test_a_result_that_is_not_finite_is_an_error(stack) -> None:
    broken = {name: data.copy() for name, data in stack.experts.items()}
    broken[Expert.ECLARE][20, 20, 16] = np.nan
    with pytest.raises(RuntimeError, match="must be finite"):
        fuse(replace(stack, experts=broken), MEAN)


def _misfit(fused: Fused, scan: ScanData) -> float:
    simulated = scan.operator.forward(torch.from_numpy(fused.volume))
    return float((simulated - scan.low).square().mean().sqrt())
