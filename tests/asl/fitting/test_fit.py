"""The dictionary fit: global optimum, ranges, every voxel answered, bad input refused."""

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from revoxel.asl.fitting.dictionary import att_grid
from revoxel.asl.fitting.fit import FitSettings, OnNonfinite, fit_dictionary, white_paper_cbf
from revoxel.asl.physics import AslPhysics, signal, unit_signal
from revoxel.asl.protocol import AslProtocol

PLDS_MS = (500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0)
JOINT = AslProtocol(PLDS_MS, 1800.0, PLDS_MS)
PCASL = AslProtocol(PLDS_MS)
PASL = AslProtocol(pasl_tis_ms=(600.0, 1100.0, 1600.0, 2100.0, 2600.0), pasl_bolus_ms=800.0)
ODD = AslProtocol((501.0, 1003.5, 1777.0), (900.0, 1400.0, 1650.0), (650.0, 1999.9))
LONG = AslProtocol(tuple(range(500, 6001, 500)))
SIGMA = 6e-4  # SNR60 10


def scan(protocol, shape=(400,), sigma=SIGMA, seed=0):
    """CBF, ATT and noisy data of random voxels."""
    generator = np.random.default_rng(seed)
    cbf, att = generator.uniform(5, 120, shape), generator.uniform(300, 2900, shape)
    dm = signal(cbf, att, protocol)
    return cbf, att, dm + generator.normal(0, sigma, dm.shape)


def brute_force_chi_square(dm, protocol, sigma, cbf_max=250.0):
    """Least sum of ((data - signal) / sigma)^2 over a grid of half a millisecond, CBF clipped."""
    data = dm / sigma
    kinks = [kink for kink in protocol.kinks_ms if 100 <= kink <= 4000]
    unit = unit_signal(np.unique(np.append(np.arange(100, 4000.1, 0.5), kinks)), protocol) / sigma
    square, product = (unit**2).sum(1)[:, None], unit @ data.T
    cbf = np.clip(product / np.maximum(square, 1e-300), 0, cbf_max)
    return (data**2).sum(1) + (cbf * (cbf * square - 2 * product)).min(0)


def assert_global(fit, dm, protocol, sigma, cbf_max=250.0):
    """Chi-square of the maps themselves: a step of one standard deviation would add 1."""
    left = (dm - signal(fit.cbf, fit.att, protocol)) / sigma
    excess = (left**2).sum(1) - brute_force_chi_square(dm, protocol, sigma, cbf_max)
    assert excess.max() < 0.05
    assert np.quantile(excess, 0.99) < 1e-3


@pytest.mark.parametrize("protocol", [JOINT, PCASL, PASL, ODD], ids=["joint", "pcasl", "pasl", "odd"])
def test_noise_free_voxels_are_recovered(protocol):
    cbf, att, dm = scan(protocol, sigma=0.0)
    told = (att > min(protocol.kinks_ms) + 50) & (att < 2000)
    fit = fit_dictionary(dm, protocol)
    np.testing.assert_allclose(fit.att[told], att[told], atol=1.0)
    np.testing.assert_allclose(fit.cbf[told], cbf[told], rtol=2e-3)


@pytest.mark.parametrize("att_ms", [500.0, 1000.0, 2300.0, 2500.0])
def test_optimum_at_a_kink_is_hit(att_ms):
    dm = signal(np.array([60.0]), np.array([att_ms]), JOINT)
    fit = fit_dictionary(dm, JOINT)
    np.testing.assert_allclose(fit.att, att_ms, atol=1e-6)
    np.testing.assert_allclose(fit.cbf, 60.0, rtol=1e-6)


@pytest.mark.parametrize("att_ms", [500.8, 999.3, 1001.2, 2299.0])
def test_optimum_beside_a_kink_is_not_pulled_to_it(att_ms):
    dm = signal(np.array([60.0]), np.array([att_ms]), JOINT)
    np.testing.assert_allclose(fit_dictionary(dm, JOINT).att, att_ms, atol=0.2)


@pytest.mark.reference
@pytest.mark.parametrize("protocol", [JOINT, PCASL, PASL, ODD], ids=["joint", "pcasl", "pasl", "odd"])
def test_optimum_is_global(protocol):
    for sigma in (SIGMA, 3 * SIGMA):
        _, _, dm = scan(protocol, sigma=sigma)
        assert_global(fit_dictionary(dm, protocol), dm, protocol, sigma)


@pytest.mark.reference
def test_channels_weigh_by_their_noise():
    sigma = np.linspace(1, 4, JOINT.n_channels) * SIGMA
    _, _, dm = scan(JOINT, sigma=sigma)
    fit = fit_dictionary(dm, JOINT, sigma=sigma)
    assert_global(fit, dm, JOINT, sigma)
    assert np.abs(fit.att - fit_dictionary(dm, JOINT).att).max() > 1.0


@pytest.mark.reference
def test_equals_curve_fit_where_that_finds_the_optimum():
    cbf, att, dm = scan(JOINT, (30,), SIGMA / 3)
    fit = fit_dictionary(dm, JOINT)

    # Unweighted, the squares are so small that scipy stops at once.
    noise = np.full(JOINT.n_channels, SIGMA / 3)

    def model(_, cbf, att):
        return signal(np.asarray(cbf), np.asarray(att), JOINT)

    found = np.array(
        [
            curve_fit(model, None, row, p0=(c, a), sigma=noise, method="trf", x_scale=(10, 100))[0]
            for row, c, a in zip(dm, cbf, att, strict=True)
        ]
    )
    same = np.abs(found[:, 1] - fit.att) < 5
    assert same.mean() > 0.8
    np.testing.assert_allclose(fit.cbf[same], found[same, 0], rtol=0.01)


def test_residual_is_that_of_the_returned_maps():
    _, _, dm = scan(JOINT, sigma=3 * SIGMA)
    dm[:20] *= -1  # CBF clipped at 0
    dm[20:40] *= 20  # and at its maximum
    fit = fit_dictionary(dm, JOINT)
    left = dm - signal(fit.cbf, fit.att, JOINT)
    np.testing.assert_allclose(fit.residual, np.sqrt((left**2).mean(-1)), rtol=1e-6)
    level = fit_dictionary(dm, JOINT, sigma=np.full((400, 1), 2e-3)).residual
    np.testing.assert_allclose(level, fit.residual / 2e-3, rtol=1e-6)


@pytest.mark.reference
def test_clipped_cbf_is_taken_into_the_search():
    """The best ATT under a clipped CBF is not the best one without the limit."""
    _, _, dm = scan(PCASL)
    fit = fit_dictionary(3 * dm, PCASL, settings=FitSettings(cbf_max_ml_100g_min=100))
    assert fit.cbf.max() == 100
    # Clipped voxels fit badly, so that their chi-square is large and steep.
    assert_global(fit, 3 * dm, PCASL, 10 * SIGMA, cbf_max=100)


def test_att_that_the_delays_cannot_tell_is_at_bound():
    """PCASL before its first delay and VSASL after its last one are constant in ATT."""
    vsasl = AslProtocol(vsasl_plds_ms=PLDS_MS)
    for protocol, att_ms, end_ms in ((PCASL, 300.0, 500.0), (vsasl, 3500.0, 3000.0)):
        fit = fit_dictionary(signal(np.array([60.0]), np.array([att_ms]), protocol), protocol, sigma=SIGMA)
        assert fit.at_bound[0]
        assert fit.att[0] == end_ms
        np.testing.assert_allclose(fit.cbf, 60.0, rtol=1e-6)


def test_bounds_are_reported():
    cbf = np.array([60.0, -20.0, 900.0, 60.0, 60.0])
    att = np.array([1234.0, 1234.0, 1234.0, 20.0, 4700.0])
    fit = fit_dictionary(signal(cbf, att, AslProtocol((50.0, *PLDS_MS))), AslProtocol((50.0, *PLDS_MS)))
    np.testing.assert_array_equal(fit.at_bound, [False, True, True, True, True])
    assert fit.cbf[1] == 0
    assert fit.cbf[2] == 250
    assert fit.att[3] == 100
    assert fit.att[4] == 4000


@pytest.mark.parametrize("protocol", [JOINT, PCASL, PASL, ODD], ids=["joint", "pcasl", "pasl", "odd"])
def test_every_voxel_has_a_finite_answer(protocol):
    rows = np.random.default_rng(0).normal(0, 1, (300, protocol.n_channels))
    dm = np.concatenate([rows * scale for scale in (0, 1e-30, 1e-4, 1e-2, 1.0, 1e6)])
    fit = fit_dictionary(dm, protocol, sigma=SIGMA)
    maps = (fit.cbf, fit.att, fit.residual, fit.cbf_mean, fit.cbf_sd, fit.att_mean, fit.att_sd)
    assert all(np.isfinite(values).all() for values in maps)
    assert ((fit.att >= 100) & (fit.att <= 4000) & (fit.cbf >= 0) & (fit.cbf <= 250)).all()


def test_volume_equals_its_voxels_and_its_mask():
    _, _, dm = scan(JOINT, (3, 4, 5))
    mask = np.random.default_rng(0).random((3, 4, 5)) > 0.4
    whole, part = fit_dictionary(dm, JOINT, sigma=SIGMA), fit_dictionary(dm, JOINT, sigma=SIGMA, mask=mask)
    rows = fit_dictionary(dm[mask], JOINT, sigma=SIGMA)
    for name in ("cbf", "att", "residual", "at_bound", "cbf_sd", "att_mean"):
        values = getattr(part, name)
        np.testing.assert_allclose(values[mask], getattr(whole, name)[mask], rtol=1e-5)
        np.testing.assert_allclose(values[mask], getattr(rows, name), rtol=1e-5)
        assert not values[~mask].any()
    assert fit_dictionary(dm[0, 0, 0], JOINT).cbf.shape == ()


def test_more_voxels_than_a_chunk_are_fitted_alike(monkeypatch):
    _, _, dm = scan(JOINT)
    once = fit_dictionary(dm, JOINT, sigma=SIGMA)
    monkeypatch.setattr("revoxel.asl.fitting.fit.CHUNK", 33)
    many = fit_dictionary(dm, JOINT, sigma=SIGMA)
    np.testing.assert_allclose(many.att, once.att, rtol=1e-6)
    np.testing.assert_allclose(many.att_sd, once.att_sd, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_torch_in_torch_out(dtype):
    _, _, dm = scan(JOINT)
    leaf = torch.from_numpy(dm).to(dtype).requires_grad_()
    fit = fit_dictionary(leaf, JOINT, mask=torch.ones(400, dtype=torch.bool))
    assert isinstance(fit.cbf, torch.Tensor)
    assert not fit.cbf.requires_grad
    assert fit.cbf.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    if dtype != torch.bfloat16:
        np.testing.assert_allclose(fit.att, fit_dictionary(dm, JOINT).att, atol=0.1)


def test_any_real_array_is_accepted():
    _, _, dm = scan(JOINT)
    expected = fit_dictionary(dm.astype(np.float32), JOINT)
    big_endian = dm.astype(">f4")
    frozen = np.asfortranarray(dm.astype(np.float32))
    frozen.flags.writeable = False
    for array in (big_endian, frozen, frozen.tolist()):
        fit = fit_dictionary(array, JOINT)
        np.testing.assert_allclose(fit.att, expected.att, atol=1e-3)
        assert fit.att.dtype == np.asarray(array).dtype.newbyteorder("=")
    np.testing.assert_array_equal(frozen, dm.astype(np.float32))


@pytest.mark.parametrize("sigma", [None, np.array([1e-4, 2e-4, 3e-4]).reshape(3, 1, 1)])
def test_items_may_differ_in_constants_and_noise(sigma):
    physics = AslPhysics(
        t1_blood_ms=np.array([1500.0, 1650.0, 1800.0]), alpha_pcasl=torch.tensor([0.7, 0.8, 0.9])
    )
    cbf, att, _ = scan(JOINT, (3, 50))
    dm = signal(cbf, att, JOINT, physics)
    fit = fit_dictionary(dm, JOINT, physics, sigma=sigma)
    np.testing.assert_allclose(fit.cbf, cbf, rtol=1e-3)
    for item in range(3):
        noise = None if sigma is None else sigma[item]
        alone = fit_dictionary(dm[item], JOINT, physics.of_item(item, 3), sigma=noise)
        np.testing.assert_allclose(fit.att[item], alone.att, rtol=1e-9)


def test_noise_by_item_and_channel_equals_items_one_by_one():
    _, _, dm = scan(JOINT, (2, 50))
    sigma = np.random.default_rng(0).uniform(3e-4, 9e-4, (2, 1, JOINT.n_channels))
    fit = fit_dictionary(dm, JOINT, sigma=sigma)
    for item in range(2):
        alone = fit_dictionary(dm[item], JOINT, sigma=sigma[item, 0])
        np.testing.assert_allclose(fit.att[item], alone.att, rtol=1e-9)
        np.testing.assert_allclose(fit.att_sd[item], alone.att_sd, rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_refused_or_left_out(value):
    _, _, dm = scan(JOINT)
    dm[3, 0] = dm[5, 11] = dm[7] = value
    with pytest.raises(ValueError, match="dm must be finite inside the mask, got 3 of 400 voxels"):
        fit_dictionary(dm, JOINT)
    fit = fit_dictionary(dm, JOINT, settings=FitSettings(on_nonfinite="mask"))
    assert np.flatnonzero(fit.dropped).tolist() == [3, 5, 7]
    assert np.flatnonzero(fit.cbf == 0).tolist() == [3, 5, 7]
    outside = np.ones(400, bool)
    outside[[3, 5, 7]] = False
    assert not fit_dictionary(dm, JOINT, mask=outside).dropped.any()


def test_scan_without_a_finite_voxel_gives_zeros_and_says_so():
    fit = fit_dictionary(
        np.full((4, 12), np.nan), JOINT, sigma=1.0, settings=FitSettings(on_nonfinite="mask")
    )
    assert fit.dropped.all()
    assert not fit.att_sd.any()


def test_grid_holds_the_steps_and_every_kink_once():
    grid, at_kink = att_grid((100.0, 4000.0), 20.0, (50.0, 500.0, 501.5, 3333.0, 4000.0, 4800.0))
    assert grid.diff().min() > 1e-3
    assert {100.0, 120.0, 500.0, 501.5, 3333.0, 4000.0} <= set(grid.tolist())
    assert grid[at_kink].tolist() == [500.0, 501.5, 3333.0, 4000.0]
    assert len(grid) == 196 + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dm": np.zeros((4, 11))}, "dm must have the protocol's 12 channels on its last axis, got 11"),
        ({"dm": np.float32(1)}, "dm must have the protocol's 12 channels on its last axis, got 1"),
        (
            {"protocol": AslProtocol((1800.0,)), "dm": np.zeros((4, 1))},
            "protocol must have two delays to tell ATT",
        ),
        ({"mask": np.ones(5, bool)}, r"mask must have the shape of dm\[..., 0\], \(4,\), got \(5,\)"),
        ({"mask": np.zeros(4, bool)}, "mask must have a voxel, got none"),
        ({"dm": np.zeros((0, 12))}, "mask must have a voxel, got none"),
        ({"sigma": 0.0}, "sigma must be finite and > 0, got 0"),
        ({"sigma": float("nan")}, "sigma must be finite and > 0, got nan"),
        ({"sigma": np.ones(5)}, r"sigma must be a number, one per channel \(12\), by voxel \(4, 1\)"),
        ({"sigma": np.ones((3, 1))}, "sigma must be a number"),
        (
            {"physics": AslPhysics(sib=np.array([0.9, 1.0]))},
            r"sib must be a number or one value per item \(4\)",
        ),
        (
            {"settings": FitSettings(att_range_ms=(9000, 9900))},
            "att_range_ms must hold ATTs that give a signal",
        ),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_dictionary(**{"dm": np.zeros((4, 12)), "protocol": LONG, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"att_range_ms": (2000, 1000)}, "att_range_ms must ascend"),
        ({"att_range_ms": (-10, 1000)}, "att_range_ms must ascend"),
        ({"step_ms": 0}, "step_ms must be > 0"),
        ({"step_ms": 2000}, "step_ms must be > 0 and at most a quarter"),
        ({"cbf_max_ml_100g_min": 0}, "cbf_max_ml_100g_min must be > 0"),
        ({"cbf_max_ml_100g_min": float("nan")}, "cbf_max_ml_100g_min must be > 0"),
        ({"on_nonfinite": "ignore"}, "ignore"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FitSettings(**arguments)


def test_settings_name_what_to_do_with_nonfinite_voxels():
    assert FitSettings(on_nonfinite="mask").on_nonfinite is OnNonfinite.MASK


@pytest.mark.reference
def test_single_delay_gives_the_white_paper_cbf():
    """Alsop 2015, equations 1 (PCASL) and 2 (PASL), with DM as a fraction of M0."""
    dm = np.array([[0.006], [0.004], [-0.001]])
    pcasl = 6000 * 0.9 * dm[:, 0] * np.exp(1.8 / 1.65) / (2 * 0.85 * 1.65 * (1 - np.exp(-1.8 / 1.65)))
    pasl = 6000 * 0.9 * dm[:, 0] * np.exp(1.8 / 1.65) / (2 * 0.98 * 0.8)
    np.testing.assert_allclose(white_paper_cbf(dm, AslProtocol((1800.0,))), pcasl, rtol=1e-12)
    pasl_protocol = AslProtocol(pasl_tis_ms=(1800.0,), pasl_bolus_ms=800.0)
    np.testing.assert_allclose(white_paper_cbf(dm, pasl_protocol), pasl, rtol=1e-12)
    masked = white_paper_cbf(torch.from_numpy(dm), AslProtocol((1800.0,)), mask=np.array([True, False, True]))
    np.testing.assert_allclose(masked, pcasl * [1, 0, 1], rtol=1e-12)


@pytest.mark.parametrize("protocol", [JOINT, AslProtocol(vsasl_plds_ms=(1500.0,))], ids=["many", "vsasl"])
def test_white_paper_cbf_needs_one_spatially_labelled_delay(protocol):
    with pytest.raises(ValueError, match="protocol must be one PCASL or PASL delay"):
        white_paper_cbf(np.zeros((2, protocol.n_channels)), protocol)
