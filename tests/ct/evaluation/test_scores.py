import numpy as np
import pytest

from revoxel.ct.evaluation.scores import KEYS, PEAKS, factor_between, psnr_hu, score_ct

SIDE = 16


@pytest.fixture
def truth(rng):
    return rng.uniform(-900, 900, (SIDE, SIDE, SIDE)).astype(np.float32)


def blocks(volume):
    side = SIDE // 4
    return volume.reshape(side, 4, side, 4, side, 4).mean(axis=(1, 3, 5))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def everywhere(volume):
    return np.ones(volume.shape, dtype=bool)


def test_keys_are_those_of_the_metrics_file(truth):
    scores = score_ct(truth, truth, blocks(truth), everywhere(truth))
    assert tuple(scores) == KEYS
    assert KEYS == (
        "rmse_hu",
        "mae_hu",
        "psnr_2500_db",
        "psnr_4095_db",
        "psnr_2048_db",
        "psnr_400window_db",
        "ssim",
        "consistency_max_hu",
    )


def test_an_error_of_ten_hu_is_reported_as_ten_hu(truth):
    scores = score_ct(truth + 10, truth, blocks(truth), everywhere(truth))
    assert scores["rmse_hu"] == pytest.approx(10, rel=1e-4)
    assert scores["mae_hu"] == pytest.approx(10, rel=1e-4)
    assert scores["consistency_max_hu"] == pytest.approx(10, rel=1e-3)
    # 20 log10(peak / 10)
    assert scores["psnr_2500_db"] == pytest.approx(47.9588, abs=1e-3)
    assert scores["psnr_2048_db"] == pytest.approx(46.2266, abs=1e-3)


def test_a_doubled_peak_would_give_six_decibels_for_nothing(truth, rng):
    """The mistake behind the reported fall from 13.35 dB to 7 dB: range 2 in one score, 1 in the other."""
    prediction = truth + rng.normal(0, 50, truth.shape).astype(np.float32)
    scores = score_ct(prediction, truth, blocks(truth), everywhere(truth))
    for name, peak in PEAKS.items():
        doubled = type(peak)(peak.window, 2 * peak.peak_hu, "wrong")
        gain = psnr_hu(prediction, truth, everywhere(truth), doubled) - scores[name]
        assert gain == pytest.approx(6.0206, abs=1e-3)
    assert scores["psnr_4095_db"] - scores["psnr_2500_db"] == pytest.approx(4.2863, abs=1e-3)


@pytest.mark.parametrize("name", [name for name in PEAKS if name != "psnr_4095_db"])
def test_peak_is_the_width_of_its_window(name):
    assert PEAKS[name].peak_hu == PEAKS[name].window.width_hu


def test_windows_are_not_mixed(truth):
    """An error in bone is seen by the wide window, and neither by the narrow one nor by its figures."""
    bone = np.full_like(truth, 1200.0)
    scores = score_ct(bone + 100, bone, blocks(bone), everywhere(truth))
    assert scores["psnr_2500_db"] == pytest.approx(20 * np.log10(25), abs=1e-3)
    assert np.isinf(scores["psnr_2048_db"])
    assert scores["rmse_hu"] == 0


def test_both_volumes_are_cut_to_the_window_after_they_were_made(truth):
    beyond = truth.copy()
    truth[0, 0, 0], beyond[0, 0, 0] = 1024.0, 3000.0
    assert score_ct(beyond, truth, blocks(truth), everywhere(truth))["rmse_hu"] == 0


def test_nothing_outside_the_field_of_view_is_counted(truth):
    mask = everywhere(truth)
    mask[:8] = False
    wrong = truth.copy()
    wrong[:8] += 500
    scores = score_ct(wrong, truth, blocks(truth), mask)
    assert scores["rmse_hu"] == 0
    assert scores["consistency_max_hu"] == pytest.approx(0, abs=1e-3)


def test_consistency_is_that_of_the_volume_before_it_is_cut(truth):
    bright = truth.copy()
    bright[:4, :4, :4] = 3000.0
    scores = score_ct(bright, bright, blocks(bright), everywhere(truth))
    assert scores["consistency_max_hu"] == pytest.approx(0, abs=1e-2)


def test_volumes_of_one_size_are_compared_at_low_resolution(truth, rng):
    detail = rng.normal(0, 100, truth.shape).astype(np.float32)
    detail -= np.kron(blocks(detail), np.ones((4, 4, 4)))
    scores = score_ct(truth + detail, truth, truth, everywhere(truth))
    assert scores["consistency_max_hu"] == pytest.approx(0, abs=1e-2)
    assert scores["rmse_hu"] > 50


def test_grids_without_a_common_factor_are_refused():
    with pytest.raises(ValueError, match="one multiple"):
        factor_between((16, 16, 16), (4, 4, 5))
