import math

import numpy as np
import pytest
import torch
from monai.metrics import SSIMMetric
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from revoxel.core.metrics import Scores, dilated_mask, psnr, rmse, score, ssim
from revoxel.core.ssim import SSIMWindow, volume_ssim_map


@pytest.fixture
def prediction(brain):
    noise = np.random.default_rng(0).normal(0, 5, brain.shape)
    return (brain + noise).astype(np.float32)


@pytest.mark.reference
def test_psnr_equals_scikit_image(prediction, brain):
    ours = psnr(prediction, brain, data_range=140.0)
    assert ours == pytest.approx(peak_signal_noise_ratio(brain, prediction, data_range=140.0), abs=1e-4)


@pytest.mark.reference
def test_ssim_equals_monai(prediction, brain):
    volumes = (torch.tensor(volume)[None, None] for volume in (prediction, brain))
    oracle = SSIMMetric(3, data_range=140.0, win_size=7)(*volumes)
    assert ssim(prediction, brain, data_range=140.0) == pytest.approx(float(oracle), abs=1e-5)


def test_constant_offset_is_its_own_rmse(brain):
    assert rmse(brain + 3, brain) == pytest.approx(3)
    assert psnr(brain + 3, brain, data_range=30.0) == pytest.approx(20)


def test_equal_volumes_are_perfect(brain):
    perfect = score(brain, brain)
    assert perfect.psnr_db == math.inf
    assert perfect.rmse == 0
    assert perfect.ssim == pytest.approx(1)


def test_full_volume_refers_to_the_maximum_of_the_truth(prediction, brain):
    assert score(prediction, brain).data_range == pytest.approx(brain.max())


def test_region_refers_to_the_percentile_of_the_truth_inside(prediction, brain):
    mask = brain > 0
    scores = score(prediction, brain, mask)
    assert scores.data_range == pytest.approx(np.percentile(brain[mask], 99.9))
    assert scores.as_dict() == {
        "psnr_db": scores.psnr_db,
        "ssim": scores.ssim,
        "rmse": scores.rmse,
        "data_range": scores.data_range,
    }
    assert isinstance(scores, Scores)


def test_voxels_outside_the_region_do_not_count(prediction, brain):
    mask = ndimage.binary_erosion(brain > 0, iterations=4)
    far = ~dilated_mask(mask, 6)
    damaged = np.where(far, 1e4, prediction).astype(np.float32)
    assert score(damaged, brain, mask) == score(prediction, brain, mask)


@pytest.mark.parametrize("voxels", [0, 1, 4])
def test_dilation_holds_exactly_the_voxels_within_the_radius(voxels):
    mask = np.zeros((9, 12, 14), dtype=bool)
    mask[2, 5, 6] = mask[8, 11, 13] = True
    distance = ndimage.distance_transform_edt(~mask)
    np.testing.assert_array_equal(dilated_mask(mask, voxels), distance <= voxels)


def test_empty_mask_dilates_to_an_empty_mask():
    assert not dilated_mask(np.zeros((4, 4, 4), dtype=bool), 2).any()


def test_bad_input_is_refused(brain):
    with pytest.raises(ValueError, match="one shape"):
        score(brain[1:], brain)
    with pytest.raises(ValueError, match="at least one voxel"):
        score(brain, brain, np.zeros(brain.shape, dtype=bool))
    with pytest.raises(ValueError, match="data_range must be positive"):
        psnr(brain, brain, data_range=0.0)
    with pytest.raises(ValueError, match="voxels must be"):
        dilated_mask(brain > 0, -1)
    rim = np.zeros(brain.shape, dtype=bool)
    rim[0] = True
    with pytest.raises(ValueError, match="from the rim"):
        ssim(brain, brain, rim, data_range=1.0)


def test_stated_range_replaces_that_of_the_truth(prediction, brain):
    doubled = score(prediction, brain, data_range=2 * float(brain.max()))
    assert doubled.psnr_db == pytest.approx(score(prediction, brain).psnr_db + 20 * math.log10(2))
    assert doubled.ssim > score(prediction, brain).ssim


def test_ssim_of_a_region_is_the_mean_over_its_windows_of_the_whole_map(prediction, brain):
    mask = np.zeros(brain.shape, dtype=bool)
    mask[20:24, 15:30, :12] = True
    window = SSIMWindow(data_range=100.0)
    whole = volume_ssim_map(torch.tensor(prediction), torch.tensor(np.array(brain)), window).numpy()
    expected = whole[mask[3:-3, 3:-3, 3:-3]].mean()
    assert ssim(prediction, brain, mask, data_range=100.0) == pytest.approx(expected, abs=1e-6)
