"""The signal against a scalar reference, its kinks, its gradients, and what it can tell."""

import math

import numpy as np
import pytest
import torch

from revoxel.asl.physics import AslPhysics, arterial_signal, att_derivative, cramer_rao, signal, unit_signal
from revoxel.asl.protocol import AslProtocol

PLDS_MS = (500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0)
JOINT = AslProtocol(PLDS_MS, 1800.0, PLDS_MS)
EVERYTHING = AslProtocol(
    (300.0, 1200.0, 2600.0), (1000.0, 1500.0, 1800.0), (700.0, 2100.0), (500.0, 1900.0), 800.0
)
ODD_PHYSICS = AslPhysics(1580.0, 0.8, 0.9, 0.6, 0.95, 3, 2, 0.95, 0.8)
PCASL_AT_2000 = AslProtocol((2000.0,))


def reference_casl(cbf: float, att_ms: float, pld_ms: float, duration_ms: float, t1_ms: float) -> float:
    """Integral of label delivered since the start of labelling, three cases written out (Buxton 1998).

    Blood labelled at s in [0, LD] reaches tissue at s + ATT if that is before the readout at LD + PLD, and
    has decayed by exp(-(LD + PLD - s) / T1) then, wherever it was in between:
    f * integral over s in [0, LD + min(0, PLD - ATT)] of exp(-(LD + PLD - s) / T1) ds.
    """
    flow, t1 = cbf / 6000.0, t1_ms / 1000.0
    read = (duration_ms + pld_ms) / 1000.0
    if att_ms >= duration_ms + pld_ms:
        return 0.0
    last = duration_ms / 1000.0 if att_ms <= pld_ms else (duration_ms + pld_ms - att_ms) / 1000.0
    return flow * t1 * (math.exp(-(read - last) / t1) - math.exp(-read / t1))


def reference_pasl(cbf: float, att_ms: float, ti_ms: float, bolus_ms: float, t1_ms: float) -> float:
    """All blood is labelled at once, TI1 of it; each part counts from ATT on (Wong 1998)."""
    delivered_ms = 0.0 if ti_ms <= att_ms else min(ti_ms - att_ms, bolus_ms)
    return cbf / 6000.0 * delivered_ms / 1000.0 * math.exp(-ti_ms / t1_ms)


def reference_vsasl(cbf: float, att_ms: float, pld_ms: float, t1_ms: float) -> float:
    """Label is everywhere at once; what was upstream by less than ATT is delivered, PLD of it at most."""
    return cbf / 6000.0 * min(pld_ms, att_ms) / 1000.0 * math.exp(-pld_ms / t1_ms)


def reference_signal(cbf: float, att_ms: float, protocol: AslProtocol, physics: AslPhysics) -> list[float]:
    t1_ms, factor = physics.t1_blood_ms, 2.0 / physics.lambda_ml_g
    inverted = factor * physics.alpha_bs**physics.n_bs_pcasl
    saturated = factor * physics.alpha_bs**physics.n_bs_vsasl * physics.alpha_vsasl * physics.sib
    casl = [
        inverted * physics.alpha_pcasl * reference_casl(cbf, att_ms, pld_ms, duration_ms, t1_ms)
        for pld_ms, duration_ms in zip(protocol.pcasl_plds_ms, protocol.durations_ms, strict=True)
    ]
    pasl = [
        inverted * physics.alpha_pasl * reference_pasl(cbf, att_ms, ti_ms, protocol.pasl_bolus_ms, t1_ms)
        for ti_ms in protocol.pasl_tis_ms
    ]
    vsasl = [saturated * reference_vsasl(cbf, att_ms, pld_ms, t1_ms) for pld_ms in protocol.vsasl_plds_ms]
    return casl + pasl + vsasl


@pytest.mark.reference
@pytest.mark.parametrize("protocol", [JOINT, EVERYTHING], ids=["joint", "everything"])
@pytest.mark.parametrize("physics", [AslPhysics(), ODD_PHYSICS], ids=["standard", "odd"])
def test_signal_equals_scalar_reference(protocol, physics):
    generator = np.random.default_rng(0)
    cbf = generator.uniform(0, 200, 300)
    att = np.concatenate([generator.uniform(0, 5500, 280), *[protocol.kinks_ms] * 3])[:300]
    expected = [reference_signal(*pair, protocol, physics) for pair in zip(cbf, att, strict=True)]
    np.testing.assert_allclose(signal(cbf, att, protocol, physics), expected, rtol=1e-12, atol=1e-16)


@pytest.mark.reference
def test_grey_matter_at_pld_2000_by_hand():
    """f = 0.01 ml/g/s, 2 * 0.85 * 0.01 * 1.65 / 0.9 * (exp(-2 / 1.65) - exp(-3.8 / 1.65)) = 0.00615936..."""
    by_hand = 2 * 0.85 * 0.01 * 1.65 / 0.9 * (math.exp(-2 / 1.65) - math.exp(-3.8 / 1.65))
    value = signal(np.array(60.0), np.array(1500.0), PCASL_AT_2000)
    np.testing.assert_allclose(value, [by_hand], rtol=1e-12)
    assert 0.0060 < by_hand < 0.0062


@pytest.mark.parametrize("physics", [AslPhysics(), ODD_PHYSICS], ids=["standard", "odd"])
def test_signal_is_continuous_at_every_kink(physics):
    kinks = np.array(EVERYTHING.kinks_ms)
    assert {300.0, 2600.0, 1300.0, 4400.0} <= set(kinks)  # PLD and LD + PLD
    below, above = (
        unit_signal(kinks - 1e-7, EVERYTHING, physics),
        unit_signal(kinks + 1e-7, EVERYTHING, physics),
    )
    np.testing.assert_allclose(below, above, atol=1e-12 * unit_signal(kinks, EVERYTHING).max() * 1e3)


def test_signal_bends_at_its_kinks_and_nowhere_else():
    att = np.arange(1.0, 5500.0, 2.0)
    left, right = att_derivative(att - 0.5, EVERYTHING), att_derivative(att + 0.5, EVERYTHING)
    jumps = np.abs(right - left).max(1) > 1e-3 * np.abs(left).max()
    at_kink = np.abs(att[:, None] - np.array(EVERYTHING.kinks_ms)).min(1) <= 1.0
    assert not jumps[~at_kink].any()
    for kink in EVERYTHING.kinks_ms:
        sides = att_derivative(np.array([kink - 1e-3, kink + 1e-3]), EVERYTHING)
        assert np.abs(np.diff(sides, axis=0)).max() > 1e-3 * np.abs(sides).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kinks_are_exact_in_either_precision(dtype):
    """At a kink the derivative is that of the shorter ATT, whatever the rounding."""
    kinks = np.array(EVERYTHING.kinks_ms, dtype=dtype)
    just_below = att_derivative(kinks.astype(np.float64) - 1e-6, EVERYTHING)
    np.testing.assert_allclose(att_derivative(kinks, EVERYTHING), just_below, rtol=1e-5, atol=1e-14)


def test_numpy_equals_torch():
    cbf, att = np.random.default_rng(1).uniform(0, 4000, (2, 3, 5))
    in_torch = signal(torch.from_numpy(cbf), torch.from_numpy(att), EVERYTHING, ODD_PHYSICS)
    np.testing.assert_allclose(in_torch, signal(cbf, att, EVERYTHING, ODD_PHYSICS), rtol=1e-13)
    slopes = att_derivative(torch.from_numpy(att), EVERYTHING, ODD_PHYSICS)
    np.testing.assert_allclose(slopes, att_derivative(att, EVERYTHING, ODD_PHYSICS), rtol=1e-13)
    bounds = cramer_rao(torch.from_numpy(cbf), torch.from_numpy(att), EVERYTHING, 1e-4)
    np.testing.assert_allclose(bounds, cramer_rao(cbf, att, EVERYTHING, 1e-4), rtol=1e-9)


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_precision_of_the_maps_is_kept(make):
    maps = make(np.full((2, 3), 900.0, dtype=np.float32))
    physics = AslPhysics(t1_blood_ms=np.float64(1600), alpha_pcasl=np.array([0.8, 0.9]))
    assert signal(maps, maps, EVERYTHING, physics).dtype == maps.dtype


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_whole_numbers_of_ms_are_not_truncated(make):
    whole, real = make(np.array([700, 1500])), make(np.array([700.0, 1500.0]))
    np.testing.assert_allclose(unit_signal(whole, EVERYTHING), unit_signal(real, EVERYTHING), rtol=1e-6)


def test_torch_gradients_equal_finite_differences():
    cbf = torch.tensor([10.0, 60.0, 120.0, 5.0], dtype=torch.float64, requires_grad=True)
    att = torch.tensor([411.0, 1234.0, 2777.0, 3999.0], dtype=torch.float64, requires_grad=True)
    t1 = torch.tensor([1500.0, 1650.0, 1700.0, 1900.0], dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([0.7, 0.8, 0.85, 0.9], dtype=torch.float64, requires_grad=True)

    def scaled(cbf, att, t1, alpha):
        return 1e4 * signal(
            cbf, att, EVERYTHING, AslPhysics(t1_blood_ms=t1, alpha_pcasl=alpha, alpha_bs=0.95)
        )

    assert torch.autograd.gradcheck(scaled, (cbf, att, t1, alpha), eps=1e-5, atol=1e-6, rtol=1e-5)


def test_att_derivative_equals_autograd_off_the_kinks():
    att = torch.linspace(13.0, 5003.0, 200, dtype=torch.float64)
    cbf = torch.ones_like(att)
    for channel in range(EVERYTHING.n_channels):
        leaf = att.clone().requires_grad_()
        signal(cbf, leaf, EVERYTHING, ODD_PHYSICS)[:, channel].sum().backward()
        torch.testing.assert_close(leaf.grad, att_derivative(att, EVERYTHING, ODD_PHYSICS)[:, channel])


def test_one_constant_per_item_equals_items_one_by_one():
    cbf, att = np.random.default_rng(2).uniform(20, 2000, (2, 3, 4, 5))
    t1, alpha = np.array([1500.0, 1650.0, 1800.0]), np.array([0.7, 0.8, 0.9])
    together = signal(cbf, att, EVERYTHING, AslPhysics(t1_blood_ms=t1, alpha_pcasl=torch.from_numpy(alpha)))
    for item in range(3):
        physics = AslPhysics(t1_blood_ms=t1[item], alpha_pcasl=alpha[item])
        np.testing.assert_allclose(
            together[item], signal(cbf[item], att[item], EVERYTHING, physics), rtol=1e-14
        )


def test_map_of_a_constant_equals_voxels_one_by_one():
    att = np.array([[700.0, 900.0], [1500.0, 2000.0]])
    t1 = np.array([[1500.0, 1550.0], [1600.0, 1700.0]])
    together = unit_signal(torch.from_numpy(att), EVERYTHING, AslPhysics(t1_blood_ms=t1))
    alone = [
        unit_signal(a, EVERYTHING, AslPhysics(t1_blood_ms=float(t)))
        for a, t in zip(att.flat, t1.flat, strict=True)
    ]
    np.testing.assert_allclose(together.reshape(4, -1), alone, rtol=1e-14)


def test_constants_of_an_item():
    physics = AslPhysics(t1_blood_ms=np.array([1500.0, 1700.0]), alpha_pcasl=torch.tensor([0.5, 0.75]))
    second = physics.of_item(1, 2)
    assert (second.t1_blood_ms, second.alpha_pcasl) == (1700.0, 0.75)
    assert not second.arrays()
    with pytest.raises(ValueError, match=r"t1_blood_ms must be a number or one value per item \(3\)"):
        physics.of_item(0, 3)


def test_arterial_blood_shows_while_its_bolus_passes():
    abat = np.array([200.0, 301.0, 1299.0, 1301.0])
    shown = arterial_signal(abat, EVERYTHING) > 0
    np.testing.assert_array_equal(shown[:, 0], [False, True, True, False])  # PLD 300, LD 1000
    assert not shown[:, -2:].any()  # VSASL
    early = arterial_signal(np.array(300.5), EVERYTHING)
    np.testing.assert_allclose(early[0], 2 * 0.85 / 0.9 * math.exp(-300.5 / 1650.0), rtol=1e-12)
    np.testing.assert_allclose(early[3], 2 * 0.98 / 0.9 * math.exp(-500.0 / 1650.0), rtol=1e-12)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("protocol", "table"),
    [
        (JOINT, {600: (1.7, 40), 1100: (1.9, 43), 1600: (2.0, 49), 2100: (2.1, 57), 2600: (2.2, 78)}),
        (
            AslProtocol(PLDS_MS),
            {600: (2.3, 62), 1100: (3.1, 67), 1600: (4.2, 77), 2100: (5.6, 85), 2600: (8.8, 125)},
        ),
    ],
    ids=["joint", "pcasl"],
)
def test_cramer_rao_bound_equals_the_published_table(protocol, table):
    """Standard deviations at CBF 60 and SNR 10 (signal of CBF 60, ATT 1500, PLD 2000 over noise)."""
    sigma = signal(np.array(60.0), np.array(1500.0), PCASL_AT_2000)[0] / 10
    att = np.array(list(table), dtype=float)
    cbf_sd, att_sd = cramer_rao(np.full_like(att, 60.0), att, protocol, sigma)
    np.testing.assert_allclose(cbf_sd, [row[0] for row in table.values()], atol=0.051)
    np.testing.assert_allclose(att_sd, [row[1] for row in table.values()], atol=0.51)


@pytest.mark.reference
def test_cramer_rao_bound_equals_the_inverse_of_the_information():
    cbf, att, sigma = 45.0, 1777.0, np.linspace(1e-4, 3e-4, JOINT.n_channels)
    moved = [
        (
            signal(np.array(cbf + dc), np.array(att + da), JOINT)
            - signal(np.array(cbf - dc), np.array(att - da), JOINT)
        )
        / (2 * max(dc, da))
        / sigma
        for dc, da in ((1e-3, 0.0), (0.0, 1e-3))
    ]
    expected = np.sqrt(np.diag(np.linalg.inv(np.stack(moved) @ np.stack(moved).T)))
    found = cramer_rao(np.array(cbf), np.array(att), JOINT, sigma)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cramer_rao_bound_is_infinite_where_data_cannot_tell(dtype):
    att = torch.tensor([100.0, 1500.0, 6000.0, 1500.0], dtype=dtype)
    cbf = torch.tensor([60.0, 60.0, 60.0, 0.0], dtype=dtype)
    cbf_sd, att_sd = cramer_rao(cbf, att, AslProtocol(PLDS_MS), torch.tensor(1e-4))
    # all arrived before the first delay; well told; nothing arrives; no flow
    assert att_sd.isinf().tolist() == cbf_sd.isinf().tolist() == [True, False, True, True]
    assert not att_sd.isnan().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t1_blood_ms": 0.0}, "t1_blood_ms must be > 0, got 0"),
        ({"t1_blood_ms": float("nan")}, "t1_blood_ms must be > 0"),
        ({"alpha_pcasl": 1.01}, "alpha_pcasl must be > 0 and <= 1, got 1.01"),
        ({"alpha_vsasl": np.array([0.5, -0.1])}, "alpha_vsasl must be > 0 and <= 1, got -0.1 to 0.5"),
        ({"lambda_ml_g": torch.tensor([0.9, 1.2])}, "lambda_ml_g must be > 0 and <= 1"),
        ({"n_bs_pcasl": -1}, "n_bs_pcasl must be >= 0, got -1"),
    ],
)
def test_impossible_constants_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AslPhysics(**change)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"cbf and att must have the same shape, got \(2,\) and \(3,\)"):
        signal(np.ones(2), np.ones(3), JOINT)
    for att in (np.ones(3), np.array(1.0), torch.ones(3)):
        with pytest.raises(
            ValueError, match=r"a constant must be a number, a map or have one value per item"
        ):
            unit_signal(att, JOINT, AslPhysics(t1_blood_ms=np.array([1600.0, 1700.0])))


def test_constants_as_plain_numbers():
    physics = AslPhysics(t1_blood_ms=torch.tensor([1600.0, 1700.0]), alpha_pcasl=np.array([0.8, 0.9]))
    plain = physics.as_dict()
    assert plain["t1_blood_ms"] == [1600.0, 1700.0]
    assert plain["alpha_pcasl"] == [0.8, 0.9]
    assert AslPhysics(**AslPhysics().as_dict()).as_dict() == AslPhysics().as_dict()
