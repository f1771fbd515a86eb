"""Simulation as MONAI transforms: the same signal and noise as of the functions, decided by one seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from revoxel.asl.physics import AslPhysics, signal
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.physics_range import PHYSICS_NAMES, PhysicsRange
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL
from revoxel.asl.simulation.transforms import RandAslNoised, RandAslPhantomd, RandAslPhysicsd, SimulateAsld

NOISE = AslNoise(snr=10, components=("thermal",))


def steps(seed: int = 0) -> Compose:
    chain = [
        RandAslPhantomd(PhantomConfig("folded", 32)),
        RandAslPhysicsd(PhysicsRange(t1_blood_ms=(1500, 1900), m0_scale=(0.9, 1.1))),
        SimulateAsld(JOINT_PROTOCOL),
        RandAslNoised(NOISE),
    ]
    return Compose(chain).set_random_state(seed=seed)


def test_one_seed_decides_everything():
    first, again, other = steps()({}), steps()({}), steps(1)({})
    torch.testing.assert_close(first["dm"], again["dm"], rtol=0, atol=0)
    assert not torch.equal(first["cbf"], other["cbf"])
    assert first["t1_blood_ms"] != other["t1_blood_ms"]


def test_drawn_constants_are_in_the_data_and_told():
    item = Compose(steps().transforms[:3])({})
    physics = AslPhysics(t1_blood_ms=item["t1_blood_ms"])
    truth = signal(item["cbf"][0].numpy(), item["att"][0].numpy(), JOINT_PROTOCOL, physics)
    expected = item["m0_scale"] * np.moveaxis(truth, -1, 0) * item["mask"].numpy()
    np.testing.assert_allclose(item["dm"], expected, rtol=1e-4, atol=1e-8)


def test_noise_is_as_large_as_it_says_and_stays_in_the_mask():
    clean = SimulateAsld(JOINT_PROTOCOL)(RandAslPhantomd(PhantomConfig("uniform", 64))({}))
    noisy = RandAslNoised(NOISE).set_random_state(seed=0)(clean)
    inside = clean["mask"][0].bool()
    spread = (noisy["dm"] - clean["dm"])[:, inside].std()
    assert float(spread) == pytest.approx(noisy["sigma"], rel=0.05)
    assert not noisy["dm"][:, ~inside].any()


def test_maps_of_a_person_take_the_place_of_a_phantom():
    maps = {"cbf": np.full((1, 4, 4), 60.0), "att": np.full((1, 4, 4), 1500.0), "mask": np.ones((1, 4, 4))}
    dm = SimulateAsld(JOINT_PROTOCOL)(maps)["dm"]
    expected = signal(np.array(60.0), np.array(1500.0), JOINT_PROTOCOL)
    np.testing.assert_allclose(dm[:, 0, 0], expected, rtol=1e-6)


def test_a_loader_stacks_slices_with_their_constants():
    batch = next(iter(DataLoader(Dataset([{}] * 4, steps()), batch_size=4)))
    assert batch["dm"].shape == (4, 12, 32, 32)
    assert batch["cbf"].shape == batch["tissue"].shape == (4, 1, 32, 32)
    assert all(batch[name].shape == (4,) for name in (*PHYSICS_NAMES, "sigma"))
    assert len(set(batch["t1_blood_ms"].tolist())) == 4
