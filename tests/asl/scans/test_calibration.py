"""M0: recovery, mask, division."""

from __future__ import annotations

import numpy as np
import pytest

from asl_scans import SHAPE, head
from revoxel.asl.scans.calibration import M0, T1_TISSUE_MS, brain_mask, divide_by_m0


def test_recovery_follows_the_repetition_time():
    image = np.ones((2, 2, 2), np.float32)
    assert M0(image, T1_TISSUE_MS * np.log(2), "x").recovery == pytest.approx(0.5)
    assert M0(image, None, "x").recovery == 1.0


def test_division_corrects_for_recovery_and_raises_what_is_too_low():
    image = np.full((3, 3, 3), 10.0, np.float32)
    image[0, 0] = 0.1
    images, divisor, n_floored = divide_by_m0(
        np.ones((1, 3, 3, 3), np.float32), M0(image, T1_TISSUE_MS * np.log(2), "x"), np.ones((3, 3, 3), bool)
    )
    assert divisor[2, 2, 2] == pytest.approx(20.0)
    assert images[0, 2, 2, 2] == pytest.approx(0.05)
    assert divisor[0, 0, 0] == pytest.approx(1.0)
    assert n_floored == 3


def test_an_m0_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"M0 \(x.nii\) must be > 0 in the brain, got median 0; .*--m0"):
        divide_by_m0(np.ones((1, 2, 2, 2)), M0(np.zeros((2, 2, 2)), None, "x.nii"), np.ones((2, 2, 2), bool))


def test_the_brain_is_the_largest_part_without_holes():
    rng = np.random.default_rng(0)
    image = (1000 * head() + rng.normal(0, 20, SHAPE)).astype(np.float32)
    image[4:6, 4:6, 1] = 0
    image[0, 0, 0] = 3000
    np.testing.assert_array_equal(brain_mask(image, "M0"), head())


def test_what_is_hardly_brighter_than_a_background_without_noise_is_no_brain():
    image = (1000 + 100 * np.cos(np.arange(np.prod(SHAPE)))).astype(np.float32).reshape(SHAPE) * head()
    faint = 3.5  # in the upper half of the background's bin, of 256 between 0 and 1100
    rim = np.zeros(SHAPE, np.float32)
    rim[:, 2:14] = faint
    np.testing.assert_array_equal(brain_mask(np.where(head(), image, rim), "M0"), head())


def test_an_image_that_shows_nothing_has_no_brain():
    with pytest.raises(ValueError, match="M0 must show a brain, got one value everywhere; pass --mask"):
        brain_mask(np.ones((3, 3, 3), np.float32), "M0")
