"""Pairing, averaging and the noise of what is left."""

from __future__ import annotations

import numpy as np
import pytest

from revoxel.asl.scans.series import AslSeries, Delay, Labelling, VolumeType
from revoxel.asl.scans.subtraction import average_repeats, repeat_sigma, subtract

EARLY, LATE = Delay(1800.0, 500.0), Delay(1800.0, 1500.0)


def series(words: str, delays: tuple[Delay, ...] | None = None) -> AslSeries:
    kinds = {"c": VolumeType.CONTROL, "l": VolumeType.LABEL, "d": VolumeType.DELTAM, "m": VolumeType.M0SCAN}
    types = tuple(kinds[word] for word in words)
    return AslSeries("x_asl.nii.gz", Labelling.PCASL, types, delays or (EARLY,) * len(types))


def volumes(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None, None, None] * np.ones((1, 2, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("words", "values"), [("cl", (5, 3)), ("lc", (3, 5)), ("mlc", (9, 3, 5)), ("d", (2,))]
)
def test_control_minus_label_whatever_the_order(words, values):
    differences, delays = subtract(volumes(*values), series(words))
    assert delays == (EARLY,)
    np.testing.assert_array_equal(differences, volumes(2))


def test_pairs_are_found_within_their_delay():
    found, delays = subtract(volumes(10, 20, 9, 18), series("ccll", (EARLY, LATE, EARLY, LATE)))
    assert delays == (EARLY, LATE)
    np.testing.assert_array_equal(found[:, 0, 0, 0], [1, 2])


def test_unpaired_volumes_are_refused_with_their_delay():
    words = r"x_asl.nii.gz: controls and labels must be equally many .*2 controls and 1 labels at PLD 500 ms"
    with pytest.raises(ValueError, match=words):
        subtract(volumes(1, 2, 3), series("ccl"))


def test_a_scan_without_pairs_is_refused():
    with pytest.raises(ValueError, match="must hold control and label or deltam volumes, got m0scan"):
        subtract(volumes(1), series("m"))


def test_repeats_are_averaged_and_delays_sorted():
    averaged = average_repeats(volumes(4, 1, 3), [LATE, EARLY, EARLY])
    assert averaged.delays == (EARLY, LATE)
    assert averaged.counts == (2, 1)
    np.testing.assert_array_equal(averaged.data[:, 0, 0, 0], [2, 4])
    assert averaged.variance[0, 0, 0, 0] == 2
    assert np.isnan(averaged.variance[1]).all()


@pytest.mark.parametrize("n_repeats", [2, 3, 8])
def test_noise_of_repeats_is_unbiased_and_ignores_vessels(n_repeats):
    rng = np.random.default_rng(0)
    differences = rng.normal(0, 0.3, (n_repeats, 20, 20, 20)).astype(np.float32)
    differences[:, :3, :3] *= 50  # a pulsating vessel
    averaged = average_repeats(differences, [EARLY] * n_repeats)
    (sigma,) = repeat_sigma(averaged.variance, averaged.counts, np.ones((20, 20, 20), bool))
    assert sigma == pytest.approx(0.3 / np.sqrt(n_repeats), rel=0.05)


def test_an_image_without_repeats_borrows_the_noise_of_the_others():
    rng = np.random.default_rng(0)
    averaged = average_repeats(rng.normal(0, 1, (5, 20, 20, 9)), [EARLY] * 4 + [LATE])
    sigma = repeat_sigma(averaged.variance, averaged.counts, np.ones((20, 20, 9), bool))
    assert sigma[1] == pytest.approx(2 * sigma[0])


def test_without_repeats_the_noise_is_unknown():
    averaged = average_repeats(volumes(1, 2), [EARLY, LATE])
    assert repeat_sigma(averaged.variance, averaged.counts, np.ones((2, 2, 2), bool)) is None
