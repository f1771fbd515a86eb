"""A painted chest holds what a chest CT holds, another one per seed."""

import numpy as np
import pytest

from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.simulation.canvas import blank_canvas
from revoxel.ct.simulation.thorax import simulate_thorax
from revoxel.ct.simulation.trees import grow_tree


@pytest.fixture(scope="module")
def chest():
    return simulate_thorax(64, 6.0, np.random.default_rng(0))


def test_chest_has_air_lung_fat_soft_tissue_and_bone_in_their_ranges(chest):
    shares = {
        "air": (chest < -950).mean(),
        "lung": ((chest > -920) & (chest < -700)).mean(),
        "fat": ((chest > -140) & (chest < -60)).mean(),
        "soft tissue": ((chest > 0) & (chest < 100)).mean(),
        "bone": (chest > 300).mean(),
    }
    expected = {"air": 0.3, "lung": 0.05, "fat": 0.02, "soft tissue": 0.1, "bone": 0.005}
    assert all(shares[name] > least for name, least in expected.items()), shares


def test_values_are_those_a_scanner_gives_and_none_is_padding(chest):
    assert chest.dtype == np.float32
    assert PADDING_HU < chest.min() < -1000
    assert 500 < chest.max() < 1500


def test_seed_decides_the_patient(chest):
    np.testing.assert_array_equal(chest, simulate_thorax(64, 6.0, np.random.default_rng(0)))
    other = simulate_thorax(64, 6.0, np.random.default_rng(1))
    assert np.abs(other - chest).mean() > 30


def test_patient_lies_on_the_back_with_the_liver_on_the_right(chest):
    """RAS: x grows to the right, y to the front, z to the head."""
    lung = (chest > -920) & (chest < -700)
    assert np.argwhere(lung)[:, 2].mean() > 32
    spine = chest[32, :32, 40].max(), chest[32, 36:, 40].max()
    assert spine[0] > 300
    gas = np.argwhere(chest[8:-8, 20:-8, :32] < -950)
    assert (gas[:, 0] + 8).mean() < 32


def test_smaller_field_of_view_shows_a_smaller_patient_not_a_part():
    small = simulate_thorax(64, 1.5, np.random.default_rng(0))
    assert np.abs(small - simulate_thorax(64, 6.25, np.random.default_rng(0))).mean() < 1e-2
    assert (small[[0, -1]] < -900).all()


def test_fine_structure_is_lost_in_a_coarse_volume():
    chest = simulate_thorax(64, 4.0, np.random.default_rng(2))
    blocks = chest.reshape(16, 4, 16, 4, 16, 4).mean(axis=(1, 3, 5))
    restored = blocks.repeat(4, 0).repeat(4, 1).repeat(4, 2)
    assert np.sqrt(((restored - chest) ** 2).mean()) > 60


def test_tree_reaches_every_end_and_thickens_towards_its_root():
    rng = np.random.default_rng(0)
    ends = rng.uniform(-50, 50, (40, 3))
    pieces = list(grow_tree(np.array([80.0, 0, 0]), ends, 0.8, rng))
    reached = np.array([piece.end for piece in pieces])
    assert all(np.linalg.norm(reached - end, axis=1).min() < 1e-9 for end in ends)
    radii = [piece.radius_mm for piece in pieces]
    assert min(radii) == pytest.approx(0.8)
    assert radii[0] == max(radii)


def test_thin_vessel_fills_the_share_of_a_voxel_that_it_would():
    canvas = blank_canvas(32, 12.5, np.random.default_rng(0), -1000.0)
    ends = np.array([-100.0, 1.0, 2.0]), np.array([100.0, 1.0, 2.0])
    _, thick = canvas.tube(*ends, 12.5)
    _, thin = canvas.tube(*ends, 2.0)
    assert thick.max() > 0.9
    assert thin.max() < 0.15


@pytest.mark.parametrize(("size", "spacing_mm"), [(8, 3.0), (64, 0.0), (64, float("nan"))])
def test_impossible_chest_is_refused(size, spacing_mm):
    with pytest.raises(ValueError, match="a chest must have size >= 16 and spacing > 0"):
        simulate_thorax(size, spacing_mm, np.random.default_rng(0))
