"""Levenberg-Marquardt: against scipy, with maps of constants, with arterial blood, never NaN."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from revoxel.asl.fitting.curve_problem import arterial_grid
from revoxel.asl.fitting.fit import FitSettings, fit_dictionary
from revoxel.asl.fitting.levenberg import LmSettings, fit_lm
from revoxel.asl.physics import AslPhysics, arterial_signal, cramer_rao, signal
from revoxel.asl.protocol import AslProtocol

PLDS_MS = (500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0)
JOINT = AslProtocol(PLDS_MS, 1800.0, PLDS_MS)
SIGMA = 6e-4
ARTERIAL = LmSettings(arterial=True)


def scan(n=200, sigma=SIGMA, physics=None, seed=0):
    generator = np.random.default_rng(seed)
    cbf, att = generator.uniform(5, 120, n), generator.uniform(300, 2900, n)
    clean = signal(cbf, att, JOINT, physics)
    return cbf, att, clean + generator.normal(0, sigma, clean.shape)


def test_agrees_with_the_dictionary():
    _, _, dm = scan(2000)
    dictionary, descent = fit_dictionary(dm, JOINT), fit_lm(dm, JOINT)
    assert (descent.residual <= dictionary.residual * (1 + 1e-9)).all()
    np.testing.assert_allclose(descent.att, dictionary.att, atol=0.5)
    np.testing.assert_allclose(descent.cbf, dictionary.cbf, atol=0.05)
    np.testing.assert_array_equal(descent.at_bound, dictionary.at_bound)
    assert descent.cbf_sd is None
    assert descent.abv is None


@pytest.mark.reference
def test_equals_scipy_least_squares_with_constants_of_each_voxel():
    generator = np.random.default_rng(1)
    t1, alpha = generator.uniform(1450, 1900, 20), generator.uniform(0.6, 0.95, 20)
    physics = AslPhysics(t1_blood_ms=t1, alpha_pcasl=alpha)
    _, _, dm = scan(20, physics=physics)
    fit = fit_lm(dm, JOINT, physics)
    for voxel, row in enumerate(dm):
        own = AslPhysics(t1_blood_ms=t1[voxel], alpha_pcasl=alpha[voxel])

        def left(point, own=own, row=row):
            return (row - signal(np.array(point[0]), np.array(point[1]), JOINT, own)) / SIGMA

        starts = [(50, att) for att in range(300, 4000, 600)]
        options = {"bounds": ((0, 100), (250, 4000)), "x_scale": (10, 100), "xtol": 1e-12, "ftol": 1e-12}
        best = min((least_squares(left, start, **options) for start in starts), key=lambda found: found.cost)
        rms = np.sqrt(2 * best.cost / JOINT.n_channels) * SIGMA
        assert fit.residual[voxel] <= rms * (1 + 1e-4)


@pytest.mark.reference
def test_equals_scipy_least_squares_with_arterial_blood():
    """Scipy starts from every set of channels that blood can show in and many ATTs; the best counts."""
    generator = np.random.default_rng(2)
    _, _, dm = scan(5)
    abv, abat = generator.uniform(0.005, 0.03, 5), generator.uniform(300, 2500, 5)
    dm = dm + abv[:, None] * arterial_signal(abat, JOINT)
    fit = fit_lm(dm, JOINT, settings=ARTERIAL)
    for voxel, row in enumerate(dm):
        costs = []
        for arrival in arterial_grid(JOINT):
            blood = arterial_signal(np.array(arrival), JOINT)

            def left(point, blood=blood, row=row):
                tissue = signal(np.array(point[0]), np.array(point[1]), JOINT)
                return (row - tissue - point[2] / 1000 * blood) / SIGMA

            for start in ((50, 700, 5), (50, 1400, 5), (50, 2300, 5)):
                bounds = ((0, 100, 0), (250, 4000, 100))
                costs.append(least_squares(left, start, bounds=bounds, x_scale=(10, 100, 1)).cost)
        rms = np.sqrt(2 * min(costs) / JOINT.n_channels) * SIGMA
        assert fit.residual[voxel] <= rms * (1 + 1e-3)


def test_arterial_blood_is_recovered_without_noise():
    cbf, att, dm = scan(300, 0.0)
    abv = np.where(np.arange(300) % 3 == 0, 0.0, 0.02)
    abat = np.random.default_rng(3).uniform(600, 2400, 300)
    fit = fit_lm(dm + abv[:, None] * arterial_signal(abat, JOINT), JOINT, settings=ARTERIAL)
    good = np.abs(fit.cbf - cbf) < 0.5
    assert good.mean() > 0.9
    assert np.median(np.abs(fit.att - att)) < 1.0
    # aBAT is known to its interval between delays, and aBV to the decay inside that interval.
    present = good & (abv > 0)
    assert (np.abs(fit.abat - abat)[present] <= 250).mean() > 0.9
    np.testing.assert_allclose(np.median(fit.abv[present]), 0.02, rtol=0.1)
    assert not fit.abat[fit.abv == 0].any()


def test_arterial_term_removes_its_bias():
    cbf, att, dm = scan(2000)
    dm = dm + 0.02 * arterial_signal(np.full(2000, 700.0), JOINT)
    with_term, without = fit_lm(dm, JOINT, settings=ARTERIAL), fit_lm(dm, JOINT)
    assert np.abs(with_term.cbf - cbf).mean() < 0.5 * np.abs(without.cbf - cbf).mean()
    assert np.abs(with_term.att - att).mean() < 0.5 * np.abs(without.att - att).mean()


def test_constants_by_item_and_by_voxel_agree():
    t1 = np.array([1500.0, 1650.0, 1800.0])
    generator = np.random.default_rng(4)
    cbf, att = generator.uniform(5, 120, (3, 4, 5)), generator.uniform(300, 2900, (3, 4, 5))
    dm = signal(cbf, att, JOINT, AslPhysics(t1_blood_ms=t1))
    by_item = fit_lm(dm, JOINT, AslPhysics(t1_blood_ms=t1))
    by_voxel = fit_lm(dm, JOINT, AslPhysics(t1_blood_ms=np.broadcast_to(t1[:, None, None], (3, 4, 5)).copy()))
    np.testing.assert_allclose(by_item.att, att, atol=1e-2)
    np.testing.assert_allclose(by_voxel.att, att, atol=1e-2)


def test_att_that_the_delays_cannot_tell_is_at_bound():
    protocol = AslProtocol(PLDS_MS)
    fit = fit_lm(signal(np.array([60.0]), np.array([300.0]), protocol), protocol, sigma=SIGMA)
    assert fit.at_bound[0]
    assert fit.att_sd[0] > 1000


def test_mask_cuts_maps_of_constants_and_noise_alike():
    t1, mask = np.linspace(1500, 1800, 60).reshape(3, 20), np.arange(60).reshape(3, 20) % 4 > 0
    physics = AslPhysics(t1_blood_ms=t1)
    cbf, att = np.full((3, 20), 60.0), np.linspace(600, 2600, 60).reshape(3, 20)
    dm = signal(cbf, att, JOINT, physics)
    sigma = np.linspace(3e-4, 9e-4, 60).reshape(3, 20, 1)
    fit = fit_lm(dm, JOINT, physics, sigma=sigma, mask=mask)
    np.testing.assert_allclose(fit.att[mask], att[mask], atol=1e-2)
    assert not fit.att[~mask].any()
    bounds = [cramer_rao(cbf, att, JOINT, sigma, physics)[place][mask] for place in (0, 1)]
    np.testing.assert_allclose(np.median(fit.cbf_sd[mask] / bounds[0]), 1.0, rtol=0.01)
    np.testing.assert_allclose(np.median(fit.att_sd[mask] / bounds[1]), 1.0, rtol=0.01)


@pytest.mark.parametrize("settings", [LmSettings(), ARTERIAL], ids=["tissue", "arterial"])
def test_every_voxel_has_a_finite_answer(settings):
    rows = np.random.default_rng(0).normal(0, 1, (100, JOINT.n_channels))
    dm = np.concatenate([rows * scale for scale in (0, 1e-30, 1e-4, 1e-2, 1.0, 1e6)])
    fit = fit_lm(dm, JOINT, sigma=SIGMA, settings=settings)
    maps = (fit.cbf, fit.att, fit.residual, fit.cbf_sd, fit.att_sd)
    assert all(np.isfinite(values).all() for values in maps)
    assert ((fit.att >= 100) & (fit.att <= 4000) & (fit.cbf >= 0) & (fit.cbf <= 250)).all()
    if settings.arterial:
        assert ((fit.abv >= 0) & (fit.abv <= 0.1)).all()


def test_torch_in_torch_out():
    _, _, dm = scan()
    fit = fit_lm(torch.from_numpy(dm).float(), JOINT, settings=ARTERIAL)
    assert fit.abv.dtype == fit.cbf.dtype == torch.float32


def test_voxels_that_are_not_finite_are_refused_or_left_out():
    _, _, dm = scan()
    dm[3, 0] = np.nan
    with pytest.raises(ValueError, match="got 1 of 200 voxels"):
        fit_lm(dm, JOINT)
    fit = fit_lm(dm, JOINT, settings=LmSettings(ranges=FitSettings(on_nonfinite="mask")))
    assert np.flatnonzero(fit.dropped).tolist() == [3]


@pytest.mark.parametrize(
    ("protocol", "settings", "message"),
    [
        (AslProtocol((1800.0,)), LmSettings(), "protocol must have 2 channels to fit CBF and ATT"),
        (AslProtocol(PLDS_MS[:3]), ARTERIAL, "protocol must have 4 channels to fit CBF, ATT, aBV and aBAT"),
        (AslProtocol(vsasl_plds_ms=PLDS_MS), ARTERIAL, "protocol must have PCASL or PASL channels"),
    ],
)
def test_protocols_that_cannot_tell_are_refused(protocol, settings, message):
    with pytest.raises(ValueError, match=message):
        fit_lm(np.zeros((4, protocol.n_channels)), protocol, settings=settings)


@pytest.mark.parametrize("arguments", [{"abv_max": 0}, {"abv_max": 1.5}, {"n_iterations": 0}])
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="abv_max must be above 0"):
        LmSettings(**arguments)


def test_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="sib must be a number or one value per item"):
        fit_lm(np.zeros((4, 12)), JOINT, AslPhysics(sib=np.full(3, 0.9)))
