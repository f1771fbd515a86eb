"""Exact consistency: block means kept to half a HU in what is written, without visible blocks."""

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from revoxel.ct.consistency import (
    block_mean,
    consistency_error_hu,
    face_gradient_ratio,
    project_onto_coarse,
    round_within_blocks,
    shift_blocks,
    unreachable_blocks,
    upsample_trilinear,
)
from revoxel.ct.hounsfield import HounsfieldWindow

WINDOW = HounsfieldWindow()


def smooth_noise(shape, *, mean_hu=0.0, sd_hu=300.0, sigma=1.5, seed=0):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return torch.from_numpy(mean_hu + sd_hu * noise / noise.std()).float()[None, None]


@pytest.fixture(scope="module")
def chest(data_path):
    """Lung, heart and ribs of a real chest, `(1, 1, 96, 96, 96)` at 1.5 mm, HU inside the window."""
    image = nib.as_closest_canonical(nib.load(data_path("ct/lidc_chest.nii.gz")))
    crop = torch.from_numpy(np.asarray(image.dataobj[64:269, 128:333, 48:106], dtype=np.float32))
    return F.interpolate(WINDOW.clip(crop)[None, None], size=(96, 96, 96), mode="trilinear")


def rmse(first, second):
    return float((first - second).square().mean().sqrt())


@settings(max_examples=20, deadline=None)
@given(
    sides=st.tuples(*[st.integers(1, 5)] * 3),
    factor=st.sampled_from([2, 4]),
    mean_hu=st.floats(-1024, 1400),
    sd_hu=st.floats(1, 800),
    seed=st.integers(0, 100),
)
def test_written_block_means_are_the_coarse_values(sides, factor, mean_hu, sd_hu, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = (mean_hu + sd_hu * torch.randn((1, 1, *sides), generator=generator)).clamp(-1024, 1476)
    fine = torch.randn((1, 1, *(factor * side for side in sides)), generator=generator) * 500
    projected = project_onto_coarse(fine, coarse, window=WINDOW, factor=factor)
    written = round_within_blocks(projected, factor)
    assert written.dtype == torch.int16
    assert int(written.min()) >= -1024
    assert int(written.max()) <= 1476
    assert consistency_error_hu(projected, coarse, factor)[1] < 0.01
    assert consistency_error_hu(written, coarse, factor)[1] <= 0.5 / factor**3 + 0.01


def test_rounding_changes_no_voxel_by_a_unit_and_keeps_whole_numbers():
    volume = smooth_noise((16, 16, 16))
    assert float((round_within_blocks(volume) - volume).abs().max()) < 1
    assert torch.equal(round_within_blocks(volume.round()).float(), volume.round())


def test_rounding_spreads_a_constant_between_two_numbers():
    # 64 voxels of 10.25: 16 of them become 11.
    rounded = round_within_blocks(torch.full((1, 1, 4, 4, 4), 10.25))
    assert sorted(rounded.flatten().tolist()) == [10] * 48 + [11] * 16


def test_projection_is_idempotent():
    fine = smooth_noise((16, 16, 16))
    once = project_onto_coarse(fine, block_mean(fine) + 20, window=WINDOW)
    twice = project_onto_coarse(once, block_mean(fine) + 20, window=WINDOW)
    assert float((twice - once).abs().max()) < 0.01


def test_consistent_volume_is_left_alone():
    fine = smooth_noise((16, 16, 16)).clamp(-1024, 1476)
    assert float((project_onto_coarse(fine, block_mean(fine), window=WINDOW) - fine).abs().max()) < 0.01


def test_constant_stays_constant():
    coarse = torch.full((1, 1, 3, 4, 5), -731.0)
    projected = project_onto_coarse(upsample_trilinear(coarse), coarse, window=WINDOW)
    assert torch.allclose(projected, torch.tensor(-731.0), atol=1e-3)


def test_projection_acts_on_each_volume_of_a_batch_alone():
    fine, coarse = torch.cat([smooth_noise((8, 8, 8), seed=s) for s in (0, 1)]), torch.zeros(2, 1, 2, 2, 2)
    together = project_onto_coarse(fine, coarse, window=WINDOW)
    alone = project_onto_coarse(fine[1:], coarse[1:], window=WINDOW)
    assert torch.allclose(together[1:], alone, atol=1e-3)


def test_blocks_do_not_show_where_the_plain_projection_shows_them():
    truth = smooth_noise((48, 48, 48), sd_hu=200.0, sigma=4.0)
    coarse = block_mean(truth)
    upsampled = upsample_trilinear(coarse)
    projected = project_onto_coarse(upsampled, coarse, window=WINDOW)
    plain = shift_blocks(upsampled, coarse)
    assert face_gradient_ratio(projected) <= 1.15 < face_gradient_ratio(plain)
    assert rmse(projected, truth) < rmse(plain, truth) < rmse(upsampled, truth)


def test_blocks_do_not_show_in_a_real_chest(chest):
    coarse = block_mean(chest)
    upsampled = upsample_trilinear(coarse)
    projected = project_onto_coarse(upsampled, coarse, window=WINDOW)
    assert face_gradient_ratio(projected) <= 1.15
    # Measured 104.8, 111.2 and 126.8 HU in this crop.
    assert rmse(projected, chest) < rmse(shift_blocks(upsampled, coarse), chest) - 5
    assert rmse(projected, chest) < rmse(upsampled, chest) - 20


def test_blocks_outside_the_window_are_listed_and_get_its_end():
    coarse = torch.zeros(1, 1, 2, 2, 2)
    coarse[0, 0, 1, 0, 1], coarse[0, 0, 0, 0, 0] = 1900.0, 1476.4
    assert unreachable_blocks(coarse, WINDOW).tolist() == [[0, 0, 1, 0, 1]]
    projected = project_onto_coarse(upsample_trilinear(coarse), coarse, window=WINDOW)
    assert torch.allclose(block_mean(projected)[0, 0, 1, 0, 1], torch.tensor(1476.0))
    assert consistency_error_hu(projected, coarse)[1] == pytest.approx(424.0, abs=0.01)


def test_grids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 1, 3, 2, 2\), got \(1, 1, 8, 8, 8\)"):
        project_onto_coarse(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 3, 2, 2), window=WINDOW)
    with pytest.raises(ValueError, match="divisible by 4"):
        block_mean(torch.zeros(1, 1, 8, 8, 6))
