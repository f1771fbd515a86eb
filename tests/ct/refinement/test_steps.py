import numpy as np
import pytest
import torch

from revoxel.ct.consistency import block_mean
from revoxel.ct.refinement.steps import CT_NUMBERS, REACH, by_slabs, projected, slabs, trilinear


@pytest.fixture(scope="module")
def coarse():
    return np.random.default_rng(0).uniform(-1024, 2000, (40, 4, 4)).astype(np.float32)


def doubled_contrast(coarse_hu, _progress):
    """A step whose result is far from consistent, so that the projection has much to do."""
    return 2 * trilinear(coarse_hu, 4)


def layer_gb(coarse):
    return 40 * 64 * coarse[0].size / 1e9


def test_slabs_give_the_volume_that_one_piece_gives(coarse):
    whole = by_slabs(coarse, doubled_contrast, 4, memory_gb=4)
    n_layers = 2 * REACH + 5
    pieces = by_slabs(coarse, doubled_contrast, 4, memory_gb=layer_gb(coarse) * (n_layers + 0.5))
    assert len(list(slabs(coarse.shape, 4, layer_gb(coarse) * (n_layers + 0.5)))) == 8
    assert np.abs(whole.refined.astype(int) - pieces.refined).max() <= 1
    assert pieces.consistency_max_hu <= 0.5
    assert pieces.clipped_share == pytest.approx(whole.clipped_share, abs=1e-3)


def test_slabs_cover_every_layer_once(coarse):
    found = list(slabs(coarse.shape, 4, layer_gb(coarse) * 31.5))
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert found[-1][1] == len(coarse)


def test_too_little_memory_is_refused_with_what_is_needed(coarse):
    with pytest.raises(ValueError, match="memory must be at least"):
        list(slabs(coarse.shape, 4, 1e-6))


def test_whole_numbers_written_to_a_file_are_consistent_with_the_coarse_volume(coarse):
    fine = projected(trilinear(coarse, 4), coarse)
    assert fine.dtype == np.int16
    means = block_mean(torch.from_numpy(fine.astype(np.float64))[None, None], 4)[0, 0].numpy()
    assert np.abs(means - coarse).max() <= 0.5


def test_metal_is_kept_up_to_the_range_of_ct_numbers(coarse):
    metal = np.full_like(coarse, 2900.0)
    fine = projected(trilinear(metal, 4), metal)
    np.testing.assert_array_equal(fine, 2900)
    assert CT_NUMBERS.high_hu == 3071


def test_progress_ends_at_one(coarse):
    shares = []
    by_slabs(coarse, doubled_contrast, 4, 4, shares.append)
    assert shares[-1] == 1.0


def test_added_detail_is_what_interpolation_lacks(coarse):
    result = by_slabs(coarse, doubled_contrast, 4, 4)
    np.testing.assert_allclose(result.refined - trilinear(coarse, 4), result.added_detail, atol=0.5)
    assert 0 < result.clipped_share < 0.5
