"""Intervals that hold what they promise, and moments against brute-force integration."""

import numpy as np
import pytest

from revoxel.asl.fitting.fit import FitSettings, fit_dictionary
from revoxel.asl.physics import cramer_rao, signal, unit_signal
from revoxel.asl.protocol import AslProtocol

PLDS_MS = (500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0)
JOINT = AslProtocol(PLDS_MS, 1800.0, PLDS_MS)
PCASL = AslProtocol(PLDS_MS)
SIGMA = 6e-4  # SNR60 10


def covered(mean, spread, truth, n_spreads):
    return float((np.abs(mean - truth) < n_spreads * spread).mean())


@pytest.mark.parametrize("sigma", [2 * SIGMA, SIGMA, SIGMA / 3, SIGMA / 20], ids=["5", "10", "30", "200"])
def test_intervals_cover_what_they_promise(sigma):
    """20 000 voxels: the share itself has a standard deviation of 0.3 % and 0.15 %."""
    generator = np.random.default_rng(0)
    cbf, att = generator.uniform(0, 150, 20_000), generator.uniform(300, 3300, 20_000)
    dm = signal(cbf, att, JOINT) + generator.normal(0, sigma, (20_000, JOINT.n_channels))
    fit = fit_dictionary(dm, JOINT, sigma=sigma)
    for mean, spread, truth in ((fit.cbf_mean, fit.cbf_sd, cbf), (fit.att_mean, fit.att_sd, att)):
        assert 0.66 <= covered(mean, spread, truth, 1.0) <= 0.70
        assert 0.94 <= covered(mean, spread, truth, 1.96) <= 0.96


def test_intervals_cover_with_unequal_noise_by_voxel_and_channel():
    generator = np.random.default_rng(1)
    cbf, att = generator.uniform(0, 150, 20_000), generator.uniform(300, 3300, 20_000)
    levels, channels = generator.uniform(3e-4, 1e-3, (20_000, 1)), np.linspace(3e-4, 1e-3, JOINT.n_channels)
    for sigma in (levels, channels):
        dm = signal(cbf, att, JOINT) + sigma * generator.normal(0, 1, (20_000, JOINT.n_channels))
        fit = fit_dictionary(dm, JOINT, sigma=sigma)
        assert 0.66 <= covered(fit.att_mean, fit.att_sd, att, 1.0) <= 0.70
        assert 0.66 <= covered(fit.cbf_mean, fit.cbf_sd, cbf, 1.0) <= 0.70


@pytest.mark.reference
@pytest.mark.parametrize("protocol", [JOINT, PCASL], ids=["joint", "pcasl"])
@pytest.mark.parametrize("cbf_max", [250.0, 70.0])
def test_moments_equal_brute_force_integration(protocol, cbf_max):
    """Both flat priors integrated on a fine grid of CBF and ATT, near and far from the ends of the range."""
    cbf, att = (
        np.array([0.0, 3.0, 15.0, 60.0, 68.0, 90.0]),
        np.array([900.0, 1500.0, 700.0, 1300.0, 2600.0, 2000.0]),
    )
    dm = signal(cbf, att, protocol) + np.random.default_rng(2).normal(0, SIGMA, (6, protocol.n_channels))
    dm[0] -= SIGMA / 2
    fit = fit_dictionary(dm, protocol, sigma=SIGMA, settings=FitSettings(cbf_max_ml_100g_min=cbf_max))
    cbfs, atts = np.linspace(0, cbf_max, 2001), np.arange(100, 4001, 5.0)
    unit = unit_signal(atts, protocol) / SIGMA
    for voxel in range(6):
        data = dm[voxel] / SIGMA
        log = np.outer(cbfs, unit @ data) - 0.5 * np.outer(cbfs**2, (unit**2).sum(1))
        weights = np.exp(log - log.max())
        weights[[0, -1]] /= 2
        weights /= weights.sum()
        by_cbf, by_att = weights.sum(1), weights.sum(0)
        cbf_mean, att_mean = by_cbf @ cbfs, by_att @ atts
        np.testing.assert_allclose(fit.cbf_mean[voxel], cbf_mean, rtol=0.01, atol=0.02)
        np.testing.assert_allclose(fit.att_mean[voxel], att_mean, atol=3)
        np.testing.assert_allclose(fit.cbf_sd[voxel], np.sqrt(by_cbf @ (cbfs - cbf_mean) ** 2), rtol=0.02)
        np.testing.assert_allclose(fit.att_sd[voxel], np.sqrt(by_att @ (atts - att_mean) ** 2), rtol=0.02)


def test_sharp_posterior_has_the_spread_of_the_cramer_rao_bound():
    cbf, att = np.array([60.0, 40.0]), np.array([1234.0, 1777.0])
    for sigma in (1e-5, 1e-8):
        fit = fit_dictionary(signal(cbf, att, JOINT), JOINT, sigma=sigma)
        bounds = cramer_rao(cbf, att, JOINT, sigma)
        np.testing.assert_allclose((fit.cbf_sd, fit.att_sd), bounds, rtol=1e-3)
        np.testing.assert_array_equal(fit.att_mean, fit.att)


def test_voxel_without_flow_keeps_the_prior_of_att():
    fit = fit_dictionary(np.zeros((1, 12)), JOINT, sigma=SIGMA)
    assert fit.cbf[0] == 0
    assert 0 < fit.cbf_mean[0] < 3
    assert fit.att_sd[0] > 700


def test_noise_must_be_known_for_a_posterior():
    fit = fit_dictionary(np.zeros((1, 12)), JOINT)
    assert (fit.cbf_sd, fit.att_sd, fit.cbf_mean, fit.att_mean) == (None, None, None, None)
