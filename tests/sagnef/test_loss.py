import math

import pytest
import torch
from monai.losses import SSIMLoss

from laws import assert_gradient
from revoxel.sagnef.loss import COMPONENTS, LossConfig, SAGNEFLoss, TrainerLoss


def example(side=10, n_experts=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    y_hat, y = torch.rand((2, 1, 1, side, side, side), generator=generator, dtype=dtype)
    logits = torch.randn((1, n_experts, side, side, side), generator=generator, dtype=dtype)
    return y_hat, y, torch.softmax(logits, dim=1)


def test_defaults_are_the_sources():
    assert LossConfig() == LossConfig(1.0, 0.2, 0.01, 0.001, 7, 1.5, 0.01, 0.03, "spread", "isotropic")


def test_total_is_the_weighted_sum_of_the_unweighted_components():
    losses = SAGNEFLoss(LossConfig(2.0, 0.5, 0.1, 0.01))(*example())
    parts = dict(zip(COMPONENTS, (2.0, 0.5, 0.1, 0.01), strict=True))
    expected = sum(weight * losses[name] for name, weight in parts.items())
    torch.testing.assert_close(losses["total"], expected)


@pytest.mark.reference
def test_image_terms_equal_torch_and_monai():
    y_hat, y, weights = example()
    losses = SAGNEFLoss()(y_hat, y, weights)
    torch.testing.assert_close(losses["mse"], torch.nn.functional.mse_loss(y_hat, y))
    assert abs(float(losses["ssim"] - SSIMLoss(3, win_size=7)(y_hat, y))) < 1e-5


def test_spread_entropy_is_zero_when_all_experts_share_and_never_negative():
    y_hat, y, weights = example()
    assert SAGNEFLoss()(y_hat, y, torch.full_like(weights, 0.25))["entropy"] == pytest.approx(0, abs=1e-6)
    assert SAGNEFLoss()(y_hat, y, weights)["entropy"] > 0


def test_sharpening_entropy_has_the_opposite_gradient():
    y_hat, y, weights = example()
    spread = SAGNEFLoss(LossConfig(entropy="spread"))(y_hat, y, weights)["entropy"]
    sharpen = SAGNEFLoss(LossConfig(entropy="sharpen"))(y_hat, y, weights)["entropy"]
    assert float(spread + sharpen) == pytest.approx(math.log(4), rel=1e-5)


@pytest.mark.reference
def test_variation_of_a_step_edge_equals_the_hand_calculation():
    # Two of four experts swap between 1 and 0 at one plane. Isotropic: of 7 x 7 x 7 forward differences per
    # expert, 7 x 7 have length 1 in 2 experts: 2 * 49 / (4 * 343) = 1 / 14.
    # Rms: along the axis of the edge, 2 * 64 of 4 * 7 * 64 differences are 1: sqrt(1 / 14); other axes zero.
    y_hat, y, _ = example(side=8)
    weights = torch.zeros(1, 4, 8, 8, 8)
    weights[:, 0, :4], weights[:, 1, 4:] = 1, 1
    isotropic = SAGNEFLoss(LossConfig(tv="isotropic"))(y_hat, y, weights)["tv"]
    rms = SAGNEFLoss(LossConfig(tv="rms"))(y_hat, y, weights)["tv"]
    assert float(isotropic) == pytest.approx(1 / 14, abs=2e-4)
    assert float(rms) == pytest.approx(math.sqrt(1 / 14), abs=4e-4)


@pytest.mark.parametrize("tv", ["isotropic", "rms"])
@pytest.mark.parametrize("entropy", ["spread", "sharpen"])
def test_padding_outside_the_mask_changes_nothing(tv, entropy):
    y_hat, y, weights = example()
    mask = torch.zeros_like(y)
    mask[..., :8, 1:9, 2:] = 1
    region = (..., slice(0, 8), slice(1, 9), slice(2, None))
    criterion = SAGNEFLoss(LossConfig(tv=tv, entropy=entropy))
    cropped = criterion(y_hat[region], y[region], weights[region])
    scrambled = torch.where(mask > 0, weights, weights.roll(1, dims=1))
    masked = criterion(torch.where(mask > 0, y_hat, 9.0), y, scrambled, mask)
    for name, value in cropped.items():
        torch.testing.assert_close(masked[name], value, msg=name)


def test_empty_mask_gives_zero_image_terms_and_finite_gradients():
    y_hat, y, weights = example()
    y_hat.requires_grad_()
    losses = SAGNEFLoss()(y_hat, y, weights, torch.zeros_like(y))
    losses["total"].backward()
    assert losses["mse"] == 0
    assert losses["ssim"] == 0
    assert torch.isfinite(y_hat.grad).all()


@pytest.mark.parametrize("tv", ["isotropic", "rms"])
def test_gradient_equals_finite_differences(tv):
    y_hat, y, weights = example(side=7, n_experts=2, dtype=torch.float64)
    mask = torch.ones_like(y)
    mask[..., 0] = 0
    criterion = SAGNEFLoss(LossConfig(1.0, 0.2, 0.1, 0.1, ssim_window=5, tv=tv))
    assert_gradient(
        lambda a, b: criterion(a, y, b, mask)["total"], y_hat.requires_grad_(), weights.requires_grad_()
    )


def test_hard_weights_have_finite_gradients():
    y_hat, y, weights = example()
    logits = (200 * weights).requires_grad_()
    SAGNEFLoss()(y_hat, y, torch.softmax(logits, dim=1))["total"].backward()
    assert torch.isfinite(logits.grad).all()


def test_half_precision_input_is_scored_in_full_precision():
    y_hat, y, weights = (tensor.bfloat16() for tensor in example())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = SAGNEFLoss()(y_hat, y, weights)
    expected = SAGNEFLoss()(y_hat.float(), y.float(), weights.float())
    torch.testing.assert_close(losses, expected)


def test_trainer_loss_reads_volume_and_mask_from_the_label_and_keeps_the_components():
    y_hat, y, weights = example()
    mask = torch.ones_like(y)
    mask[..., :2] = 0
    criterion = TrainerLoss()
    y_hat.requires_grad_()
    total = criterion((y_hat, weights), torch.cat([y, mask], dim=1))
    torch.testing.assert_close(total, SAGNEFLoss()(y_hat, y, weights, mask)["total"])
    assert set(criterion.last) == {"total", *COMPONENTS}
    assert not any(value.requires_grad for value in criterion.last.values())


def test_trainer_loss_without_a_mask_counts_every_voxel():
    y_hat, y, weights = example()
    torch.testing.assert_close(TrainerLoss()((y_hat, weights), y), SAGNEFLoss()(y_hat, y, weights)["total"])


@pytest.mark.parametrize("options", [{"entropy": "more"}, {"tv": "l1"}, {"w_tv": -1.0}, {"ssim_window": 4}])
def test_impossible_configuration_is_refused(options):
    with pytest.raises(ValueError, match=r"must be .* got"):
        SAGNEFLoss(LossConfig(**options))


def test_shapes_that_do_not_fit_are_refused():
    y_hat, y, weights = example()
    with pytest.raises(ValueError, match="must be"):
        SAGNEFLoss()(y_hat, y[..., 1:], weights)
    with pytest.raises(ValueError, match="must be"):
        SAGNEFLoss()(y_hat, y, weights, torch.ones(1, 2, 10, 10, 10))
