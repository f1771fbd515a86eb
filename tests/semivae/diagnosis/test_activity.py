"""Active units are counted so that free bits cannot fool the count."""

import numpy as np
import pytest

from revoxel.semivae.diagnosis.activity import active_units, floors_nats, signal_nats


def test_units_that_only_cost_the_free_bits_are_not_active():
    # Noise of this variance is what a floor of 0.2 nats makes of a dimension that means nothing.
    mu = np.random.default_rng(0).normal(scale=0.6, size=(200, 4))
    kl_nats = np.array([0.2, 0.2, 0.31, 2.0])
    assert active_units(mu, kl_nats, 0.2).tolist() == [False, False, True, True]
    assert active_units(mu, kl_nats, 0.0).tolist() == [True] * 4


def test_units_whose_mean_never_moves_are_not_active():
    # A posterior that is narrow but the same everywhere has a divergence and says nothing.
    assert not active_units(np.full((50, 2), 3.0), np.array([4.0, 4.0])).any()


def test_narrow_posteriors_that_never_move_carry_no_signal():
    moving = np.random.default_rng(0).normal(size=(2000, 1))
    mu = np.hstack([moving, np.full((2000, 1), 3.0)])
    signal = signal_nats(mu, np.full_like(mu, np.log(0.05)))
    # Capacity at a signal-to-noise ratio of 1 / 0.05.
    assert signal == pytest.approx([0.5 * np.log(21), 0], abs=0.05)


def test_floors_are_those_of_the_parts(partition):
    floors = floors_nats(partition, {"residual": 0.25, "vol": 0.1})
    assert floors.tolist() == [0.1, 0.1, 0, 0, 0, 0.25, 0.25, 0.25]
    with pytest.raises(ValueError, match="must name parts"):
        floors_nats(partition, {"volume": 0.1})


def test_one_scan_or_other_latents_are_refused():
    for mu in (np.zeros((1, 3)), np.zeros((5, 2))):
        with pytest.raises(ValueError, match="2 scans or more"):
            active_units(mu, np.zeros(3))
