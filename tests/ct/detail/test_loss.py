"""Five parts by name, in float32, and none that a wrong volume can hide from."""

from pathlib import Path

import pytest
import torch

from revoxel.ct.detail.loss import (
    PRESETS,
    DetailLoss,
    configured_loss,
    frequency_loss,
    laplacian,
    local_statistics_loss,
)

PARTS = {"l1", "frequency", "gradient", "local_statistics", "consistency"}


@pytest.fixture
def truth() -> torch.Tensor:
    return torch.rand(2, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))


def test_perfect_volume_costs_nothing_and_parts_are_named(truth):
    loss = DetailLoss()
    assert loss(truth, torch.cat([truth, truth], 1)) == 0
    assert set(loss.last) == PARTS | {"refined_psnr_db", "coarse_psnr_db", "total"}


def test_seed_preset_has_the_weights_of_the_source_and_total_is_their_sum(truth):
    assert PRESETS["seed"] == {
        "l1": 1.0,
        "frequency": 0.5,
        "gradient": 0.3,
        "local_statistics": 0.2,
        "consistency": 0.1,
    }
    loss = DetailLoss(preset="seed")
    coarse = truth + 0.1
    total = loss(truth * 0.9, torch.cat([truth, coarse], 1))
    parts = sum(weight * loss.last[name] for name, weight in PRESETS["seed"].items())
    torch.testing.assert_close(total, parts)
    assert loss.last["coarse_psnr_db"] == pytest.approx(20.0, abs=1e-3)


def test_shifted_copy_has_a_frequency_loss(truth):
    shifted = truth.roll(1, dims=2)
    magnitudes = [torch.fft.rfftn(v, dim=(-3, -2, -1)).abs() for v in (truth, shifted)]
    torch.testing.assert_close(*magnitudes, atol=1e-4, rtol=1e-4)
    assert frequency_loss(shifted, truth) > 0.1


def test_frequency_loss_does_not_grow_with_the_volume_and_weighs_high_frequencies():
    generator = torch.Generator().manual_seed(0)
    small, large = (torch.randn(1, 1, n, n, n, generator=generator) for n in (8, 24))
    assert frequency_loss(large, 0 * large) == pytest.approx(float(frequency_loss(small, 0 * small)), rel=0.1)
    x = torch.arange(16) / 16
    slow, fast = (torch.cos(2 * torch.pi * k * x).expand(1, 1, 16, 16, 16) for k in (1, 6))
    assert frequency_loss(fast, 0 * fast) > 2 * frequency_loss(slow, 0 * slow)


def test_laplacian_of_a_constant_is_zero_at_faces_too_and_of_a_parabola_two():
    assert laplacian(torch.full((1, 1, 5, 5, 5), 3.0)).abs().max() == 0
    parabola = (torch.arange(7.0) ** 2)[:, None, None].expand(1, 1, 7, 7, 7)
    torch.testing.assert_close(laplacian(parabola)[..., 1:-1, :, :], torch.full((1, 1, 5, 7, 7), 2.0))


def test_consistency_looks_at_low_frequencies_only(truth):
    loss = DetailLoss()
    checkers = (-1.0) ** torch.arange(12)
    detail = checkers[:, None, None] * checkers[:, None] * checkers
    loss(truth + detail, torch.cat([truth, truth], 1))
    assert loss.last["consistency"] < 1e-6
    loss(truth + 0.5, torch.cat([truth, truth], 1))
    assert loss.last["consistency"] == pytest.approx(0.5)


def test_local_statistics_see_missing_texture(truth):
    flat = truth.mean().expand_as(truth)
    assert local_statistics_loss(flat, truth) > 0.05


def test_part_that_is_not_finite_is_named(truth):
    wrong = truth.clone()
    wrong[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"wrong l1, frequency, gradient"):
        DetailLoss()(wrong, torch.cat([truth, truth], 1))


def test_parts_are_float32_under_autocast_and_have_finite_gradients(truth):
    pred = torch.zeros_like(truth).bfloat16().requires_grad_()
    loss = DetailLoss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss(pred, torch.cat([truth, truth], 1))
    total.backward()
    assert {part.dtype for part in loss.last.values()} == {torch.float32}
    assert torch.isfinite(pred.grad).all()
    equal = truth.clone().requires_grad_()
    DetailLoss()(equal, torch.cat([truth, truth], 1)).backward()
    assert torch.isfinite(equal.grad).all()


def test_perceptual_needs_a_trained_network(tmp_path: Path, truth):
    with pytest.raises(ValueError, match=r"perceptual must be 0 without a trained network, got 0\.1"):
        DetailLoss({"perceptual": 0.1})
    with pytest.raises(SystemExit, match="perceptual_weights_path must be a file"):
        configured_loss({"perceptual": 0.1}, perceptual_weights_path=str(tmp_path / "none.pt2"))
    program = torch.export.export(torch.nn.Conv3d(1, 2, 3), (truth,))
    torch.export.save(program, tmp_path / "features.pt2")
    loss = configured_loss({"perceptual": 1.0}, perceptual_weights_path=str(tmp_path / "features.pt2"))
    loss(truth + 0.1, torch.cat([truth, truth], 1))
    assert loss.last["perceptual"] > 0


@pytest.mark.parametrize(
    ("weights", "said"), [({"l2": 1.0}, "unknown"), ({"l1": -1.0}, ">= 0"), ({"l1": float("nan")}, ">= 0")]
)
def test_impossible_weights_are_refused(weights, said):
    with pytest.raises(ValueError, match=said):
        DetailLoss(weights)


def test_impossible_shapes_and_presets_are_refused(truth):
    with pytest.raises(ValueError, match="label must hold truth and coarse"):
        DetailLoss()(truth, truth)
    with pytest.raises(ValueError, match="preset must be one of seed"):
        DetailLoss(preset="best")
