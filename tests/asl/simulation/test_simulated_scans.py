import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from revoxel.asl.physics import AslPhysics, signal
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.simulation.noise import AslNoise, reference_signal
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.physics_range import PHYSICS_NAMES, PhysicsRange, ScanPhysics
from revoxel.asl.simulation.simulated_scans import (
    JOINT_PROTOCOL,
    SimulatedSlices,
    SliceSampling,
    clean_signal,
    rms,
    simulate,
)


def slices(sampling=None, physics=None, noise=None, phantom=None):
    return SimulatedSlices(
        phantom or PhantomConfig("seed", 32),
        noise or AslNoise(),
        JOINT_PROTOCOL,
        physics,
        sampling or SliceSampling(8),
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


def test_item_depends_on_seed_and_index_only():
    first, second = slices(), slices()
    for index in (5, 0, 5):
        torch.testing.assert_close(first[index]["image"], second[index]["image"], rtol=0, atol=0)
    assert not torch.equal(first[0]["image"], first[1]["image"])
    assert not torch.equal(first[0]["cbf"], slices(SliceSampling(8, seed=1))[0]["cbf"])


def test_crop_is_a_window_of_the_whole_slice():
    whole = slices(phantom=PhantomConfig("folded"))
    item = slices(SliceSampling(8, crop=24), phantom=PhantomConfig("folded"))[2]
    full = whole[2]
    assert item["image"].shape == (12, 24, 24)
    windows = full["cbf"].unfold(1, 24, 1).unfold(2, 24, 1)[0]
    assert (windows == item["cbf"][0]).all(dim=(2, 3)).any()
    assert item["scale"] == full["scale"]


def test_scale_is_the_root_mean_square_inside_the_mask():
    item = slices(phantom=PhantomConfig("folded"))[0]
    inside = item["image"][:, item["mask"][0]]
    assert item["scale"] == pytest.approx(float(inside.square().mean().sqrt()), rel=1e-5)
    assert rms(np.ones((2, 4)), np.zeros(4, bool)) == 0


def test_noise_levels_fill_their_range_evenly_on_a_logarithmic_scale():
    items = slices(SliceSampling(200, snr_range=(1, 100)), phantom=PhantomConfig("uniform", 16))
    levels = np.array([reference_signal() / items.scan(index)[0].sigma for index in range(200)])
    assert np.mean(levels < 10) == pytest.approx(0.5, abs=0.1)


def test_loader_stacks_items_with_the_constants():
    batch = next(iter(DataLoader(slices(physics=PhysicsRange.named("wide")), batch_size=4)))
    assert batch["image"].shape == batch["clean"].shape == (4, 12, 32, 32)
    assert batch["cbf"].shape == batch["att"].shape == batch["mask"].shape == (4, 1, 32, 32)
    assert batch["sigma"].shape == batch["m0_scale"].shape == (4,)


def test_labelling_duration_error_changes_the_signal_it_should():
    phantom = simulate(
        PhantomConfig("uniform", 16), AslNoise(), JOINT_PROTOCOL, None, np.random.default_rng(0)
    )
    longer = clean_signal(phantom.phantom, JOINT_PROTOCOL, ScanPhysics(AslPhysics(), 1.1))
    assert (longer[:6] > phantom.dm_clean[:6]).all()
    np.testing.assert_array_equal(longer[6:], phantom.dm_clean[6:])


@pytest.mark.parametrize("bad", [{"n_slices": 0}, {"seed": -1}, {"crop": 0}, {"snr_range": (5, 1)}])
def test_impossible_sampling_is_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        SliceSampling(**({"n_slices": 4} | bad))


def test_window_larger_than_the_slice_is_refused():
    with pytest.raises(ValueError, match="at most"):
        slices(SliceSampling(8, crop=33))


def test_item_beyond_the_last_is_refused():
    with pytest.raises(IndexError, match="between 0 and 7"):
        slices()[8]
