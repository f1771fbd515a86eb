import time

import pytest
import torch
from monai.losses import SSIMLoss
from skimage.metrics import structural_similarity

from laws import assert_adjoint, assert_gradient
from revoxel.core.ssim import (
    SSIMWindow,
    _blur,
    _blur_adjoint,
    mean_ssim,
    ssim_map,
    volume_ssim_map,
    windows_inside,
)


def pair(shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(shape, generator=generator, dtype=dtype)
    return first, first + 0.2 * torch.randn(shape, generator=generator, dtype=dtype)


@pytest.mark.reference
@pytest.mark.parametrize("shape", [(2, 1, 16, 17, 18), (1, 3, 7, 12, 9)])
@pytest.mark.parametrize(("size", "sigma", "data_range"), [(7, 1.5, 1.0), (5, 1.0, 2.5)])
def test_mean_equals_monai(shape, size, sigma, data_range):
    first, second = pair(shape)
    window = SSIMWindow(size=size, sigma=sigma, data_range=data_range)
    oracle = SSIMLoss(3, win_size=size, kernel_sigma=sigma, data_range=data_range)(first, second)
    assert abs(float(1 - mean_ssim(first, second, window) - oracle)) < 1e-5


@pytest.mark.reference
def test_gradient_equals_monai():
    first, second = (volume.requires_grad_() for volume in pair((1, 1, 10, 11, 12)))
    ours = torch.autograd.grad(1 - mean_ssim(first, second), (first, second))
    oracle = torch.autograd.grad(SSIMLoss(3, win_size=7)(first, second), (first, second))
    torch.testing.assert_close(ours, oracle, rtol=1e-4, atol=1e-7)


def test_gradient_equals_finite_differences():
    first, second = (volume.requires_grad_() for volume in pair((1, 2, 7, 8, 7), torch.float64))
    assert_gradient(ssim_map, first, second)


def test_gradient_of_one_argument_only():
    first, second = pair((1, 1, 7, 8, 9), torch.float64)
    assert_gradient(lambda volume: ssim_map(first, volume), second.requires_grad_())


@pytest.mark.parametrize("shape", [(7, 8, 9), (12, 7, 10)])
def test_blur_has_its_exact_adjoint(shape):
    taps = SSIMWindow().taps
    assert_adjoint(lambda u: _blur(u, taps), lambda v: _blur_adjoint(v, taps), (1, 1, *shape))


def test_equal_volumes_score_one():
    first, _ = pair((1, 1, 9, 9, 9))
    torch.testing.assert_close(ssim_map(first, first), torch.ones(1, 1, 3, 3, 3))


def test_voxels_outside_the_mask_change_nothing():
    first, second = pair((1, 1, 16, 16, 16))
    mask = torch.zeros_like(first)
    mask[..., 3:14, 2:15, 4:16] = 1
    inside = mean_ssim(first[..., 3:14, 2:15, 4:16], second[..., 3:14, 2:15, 4:16])
    damaged = torch.where(mask > 0, second, 100.0)
    torch.testing.assert_close(mean_ssim(first, damaged, mask=mask), inside)


def test_mask_without_a_whole_window_gives_no_loss_and_no_gradient():
    first, second = pair((1, 1, 8, 8, 8))
    second.requires_grad_()
    mask = torch.zeros_like(first)
    mask[..., :6, :, :] = 1
    score = mean_ssim(first, second, mask=mask)
    score.backward()
    assert score.item() == 1
    assert not second.grad.any()


def test_window_counts_only_when_all_its_voxels_are_inside():
    mask = torch.ones(9, 9, 9)
    mask[0, 0, 0] = 0
    inside = windows_inside(mask, 7)
    assert not inside[0, 0, 0]
    assert int(inside.sum()) == 26


def test_slabs_equal_one_pass(monkeypatch):
    first, second = pair((1, 1, 23, 10, 11))
    monkeypatch.setattr("revoxel.core.ssim._SLAB_VOXELS", 400)
    torch.testing.assert_close(volume_ssim_map(first[0, 0], second[0, 0]), ssim_map(first, second)[0, 0])


@pytest.mark.reference
def test_map_equals_scikit_image():
    # scikit-image truncates its Gaussian at 3.5 sigma: 11 voxels for sigma 1.5, mean over whole windows only.
    first, second = (volume[0, 0] for volume in pair((1, 1, 16, 17, 18)))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    oracle = structural_similarity(first.double().numpy(), second.double().numpy(), **options)
    assert volume_ssim_map(first, second, SSIMWindow(size=11)).mean().item() == pytest.approx(
        oracle, abs=1e-5
    )


def test_full_volume_takes_seconds_not_minutes():
    volume = torch.rand(240, 240, 155)
    start = time.perf_counter()
    volume_ssim_map(volume, volume)
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("options", [{"size": 6}, {"size": 1}, {"sigma": 0.0}, {"data_range": 0.0}])
def test_impossible_window_is_refused(options):
    with pytest.raises(ValueError, match=r"must be .* got"):
        SSIMWindow(**options)


@pytest.mark.parametrize(
    ("first", "second"), [((1, 1, 8, 8, 8), (1, 1, 8, 8, 9)), ((8, 8, 8), (8, 8, 8)), ((1, 1, 6, 8, 8),) * 2]
)
def test_volumes_that_do_not_fit_are_refused(first, second):
    with pytest.raises(ValueError, match=r"must be .* got"):
        ssim_map(torch.zeros(first), torch.zeros(second))
