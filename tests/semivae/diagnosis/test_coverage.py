"""Latents of other patients are near the bank or not; a hole of the latent space does not come back."""

import numpy as np
import pytest
from torch import nn

from revoxel.semivae.diagnosis.coverage import LatentBank, between, latent_coverage, reencode_drift


@pytest.fixture
def bank():
    return LatentBank.fit(np.random.default_rng(0).normal(size=(400, 3)) * [1, 2, 3])


def test_scans_of_the_same_kind_are_inside_and_strangers_are_not(bank):
    same = np.random.default_rng(1).normal(size=(300, 3)) * [1, 2, 3]
    assert latent_coverage(bank, same)["inside"] > 0.95
    assert latent_coverage(bank, same + np.array([9, 0, 0]))["inside"] == 0
    assert latent_coverage(bank, same)["median_distance"] == pytest.approx(0.9, abs=0.15)


@pytest.mark.reference
def test_distance_is_that_of_mahalanobis():
    bank = LatentBank(np.array([1.0, 0.0]), np.diag([4.0, 9.0]))
    assert bank.distances(np.array([[3.0, 3.0]])) == pytest.approx([np.sqrt(2)])


def test_bank_of_fewer_scans_than_latents_has_distances():
    bank = LatentBank.fit(np.random.default_rng(0).normal(size=(20, 64)))
    assert np.isfinite(bank.distances(np.zeros((2, 64)))).all()


def test_bank_without_spread_or_scans_is_refused():
    for mu in (np.zeros((1, 2)), np.ones((5, 2))):
        with pytest.raises(ValueError, match=r"fit the bank|at least 2 scans"):
            LatentBank.fit(mu)


def test_drift_is_nothing_for_a_faithful_decoder_and_large_for_a_blind_one(
    network: nn.Module, blind_network: nn.Module, partition
):
    latents = np.random.default_rng(0).normal(size=(20, partition.z_dim))
    spread = latents.std(axis=0)
    assert reencode_drift(network, latents, spread).max() < 1e-5
    assert reencode_drift(blind_network, latents, spread).mean() > 0.7


def test_points_between_are_middles_of_two_scans():
    latents = np.arange(8.0)[:, None]
    middles = between(latents, seed=1)
    assert middles.shape == latents.shape
    assert not np.isin(middles % 1, [0.25, 0.75]).any()
    assert middles.mean() == pytest.approx(latents.mean())
