import numpy as np
import pytest

from revoxel.asl.physics import AslPhysics, signal
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.simulation.noise import AslNoise, reference_signal
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.physics_range import PHYSICS_NAMES, PhysicsRange, ScanPhysics
from revoxel.asl.simulation.simulated_scans import (
    JOINT_PROTOCOL,
    clean_signal,
    simulate,
)


def test_clean_images_are_the_signal_of_the_phantom():
    scan = simulate(PhantomConfig("folded"), AslNoise(), JOINT_PROTOCOL, None, np.random.default_rng(0))
    truth = signal(scan.phantom.cbf, scan.phantom.att, JOINT_PROTOCOL)
    np.testing.assert_allclose(scan.dm_clean, np.moveaxis(truth, -1, 0), atol=1e-9)
    noise = (scan.dm - scan.dm_clean)[:, scan.phantom.mask]
    assert noise.std() == pytest.approx(scan.sigma, rel=0.02)
    assert not scan.dm[:, ~scan.phantom.mask].any()


def test_drawn_constants_are_really_in_the_images():
    rng = np.random.default_rng(1)
    scan = simulate(PhantomConfig(), AslNoise(), JOINT_PROTOCOL, PhysicsRange.named("default"), rng)
    values = scan.physics.values
    assert list(values) == list(PHYSICS_NAMES)
    physics = AslPhysics(
        **{name: values[name] for name in ("t1_blood_ms", "alpha_pcasl", "alpha_vsasl", "alpha_bs")}
    )
    protocol = AslProtocol(
        JOINT_PROTOCOL.pcasl_plds_ms, 1800 * values["labelling_duration_scale"], JOINT_PROTOCOL.vsasl_plds_ms
    )
    truth = values["m0_scale"] * signal(scan.phantom.cbf, scan.phantom.att, protocol, physics)
    np.testing.assert_allclose(scan.dm_clean, np.moveaxis(truth, -1, 0), rtol=1e-4, atol=1e-8)
    nominal = signal(scan.phantom.cbf, scan.phantom.att, JOINT_PROTOCOL)
    assert np.abs(scan.dm_clean - np.moveaxis(nominal, -1, 0)).max() > 0.02 * reference_signal()


@pytest.mark.parametrize("variation", ["default", "wide"])
def test_constants_stay_in_their_ranges_and_fill_them(variation):
    ranges, rng = PhysicsRange.named(variation), np.random.default_rng(0)
    drawn = [ranges.draw(rng).values for _ in range(300)]
    for name, (low, high) in ranges.limits.items():
        values = np.array([scan[name] for scan in drawn])
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high


def test_no_variation_keeps_the_constants():
    scan = PhysicsRange.named("none", AslPhysics(t1_blood_ms=1700)).draw(np.random.default_rng(0))
    assert scan.physics.t1_blood_ms == 1700
    assert scan.labelling_duration_scale == scan.m0_scale == 1


def test_pasl_protocol_has_no_labelling_duration_to_scale():
    protocol = AslProtocol(pasl_tis_ms=(800, 1600), pasl_bolus_ms=700)
    scan = ScanPhysics(AslPhysics(), labelling_duration_scale=1.1)
    assert scan.protocol(protocol) == protocol


@pytest.mark.parametrize("bad", [{"t1_blood_ms": (2000, 1500)}, {"m0_scale": (0, 1)}])
def test_impossible_range_is_refused(bad):
    with pytest.raises(ValueError, match="ascending"):
        PhysicsRange(**bad)


def test_unknown_variation_is_refused():
    with pytest.raises(ValueError, match="none, default, wide"):
        PhysicsRange.named("some")


def test_labelling_duration_error_changes_the_signal_it_should():
    usual = simulate(PhantomConfig("uniform", 16), AslNoise(), JOINT_PROTOCOL, None, np.random.default_rng(0))
    truth = usual.phantom
    scan = ScanPhysics(AslPhysics(), labelling_duration_scale=1.1)
    longer = clean_signal(truth.cbf, truth.att, truth.mask, JOINT_PROTOCOL, scan)
    assert (longer[:6] > usual.dm_clean[:6]).all()
    np.testing.assert_array_equal(longer[6:], usual.dm_clean[6:])
