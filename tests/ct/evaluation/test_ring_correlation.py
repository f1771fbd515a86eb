import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from revoxel.ct.evaluation.ring_correlation import local_ring_correlation, ring_curves

SPACING_MM = 1.5


@pytest.fixture(scope="module")
def texture():
    return np.random.default_rng(0).normal(0, 200, (96, 96, 8)).astype(np.float32)


def everywhere(volume):
    return np.ones(volume.shape, dtype=bool)


def correlation(pred, truth, mask=None):
    mask = everywhere(truth) if mask is None else mask
    return local_ring_correlation(pred, truth, mask, SPACING_MM, 4)


def test_the_truth_agrees_with_itself_up_to_the_last_frequency(texture):
    found = correlation(texture, texture)
    np.testing.assert_allclose(found.mean, 1.0)
    # 96 pixels hold two patches of 64 per side, one slice in four is looked at.
    assert len(found.cutoffs_per_mm) == 2 * 2 * 2
    np.testing.assert_allclose(found.cutoffs_per_mm, 1 / (2 * SPACING_MM))


def test_brightness_and_contrast_do_not_matter(texture):
    np.testing.assert_allclose(correlation(3 * texture + 100, texture).mean, 1.0)


def test_invented_texture_has_no_correlation_and_a_blurred_truth_keeps_its_own(texture):
    """Low frequencies of the truth and noise of equal power above: the cut-off lies where they meet."""
    low = gaussian_filter(texture, (3, 3, 0), mode="wrap")
    invented = np.random.default_rng(1).normal(0, 200, texture.shape).astype(np.float32)
    found = correlation(low + invented - gaussian_filter(invented, (3, 3, 0), mode="wrap"), texture)
    nyquist = found.coarse_nyquist_per_mm
    assert nyquist == pytest.approx(1 / 12)
    assert abs(found.mean[found.frequencies_per_mm > nyquist]).max() < 0.35
    assert found.mean[:2].min() > 0.9
    assert found.as_dict()["share_of_patches_above_nyquist"] == 0


def test_a_single_wave_is_found_in_its_own_ring():
    """10 cycles per patch, the same in both, and another phase beside it in ring 20: 1 there, 0 here."""
    x = np.arange(64) * 2 * np.pi / 64
    wave = np.sin(10 * x)[:, None] + np.zeros((64, 64))
    first, second = (wave + np.sin(20 * x + shift)[:, None] for shift in (0, np.pi / 2))
    (curve,) = ring_curves(first[None], second[None])
    assert curve[9] == pytest.approx(1.0, abs=1e-6)
    assert curve[19] == pytest.approx(0.0, abs=1e-6)


def test_dictionary_shows_only_what_the_coarse_grid_could_not_hold(texture):
    shown = correlation(texture, texture).as_dict()
    assert min(shown["frequencies_cycles_per_mm"]) > shown["coarse_nyquist_cycles_per_mm"]
    assert len(shown["mean_correlation"]) == len(shown["frequencies_cycles_per_mm"]) == 24


@pytest.mark.parametrize("blind", ["small", "flat", "outside"])
def test_there_is_no_answer_where_no_patch_shows_anything(texture, blind):
    mask = everywhere(texture)
    if blind == "small":
        texture, mask = texture[:60], mask[:60]
    elif blind == "flat":
        texture = np.zeros_like(texture)
    else:
        mask[40:60, 40:60] = False
    assert correlation(texture, texture, mask) is None
