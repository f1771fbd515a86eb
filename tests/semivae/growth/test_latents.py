"""Latents are read from what encode writes, and reduced without a look at patients left out."""

import json

import numpy as np
import pytest

from revoxel.semivae.growth.latents import LatentDirections, read_latent
from revoxel.semivae.growth.records import GrowthRecord, read_growth_csv
from revoxel.semivae.network.partition import preset_partition


def write_latent(path, mu=None, partition="seed"):
    layout = preset_partition(partition)
    mu = np.arange(layout.z_dim, dtype=float) if mu is None else mu
    path.write_text(json.dumps({"mu": list(mu), "sd": [], "partition": layout.to_dict(), "predictions": {}}))
    return path


def patient(name, latent):
    return GrowthRecord(name, np.array([0.0, 1.0]), np.array([7.0, 8.0]), latent)


def test_location_and_shape_are_read_and_the_residual_is_not(tmp_path):
    parts = read_latent(write_latent(tmp_path / "a_latent.json"))
    assert set(parts) == {"loc", "shape"}
    np.testing.assert_array_equal(parts["loc"], np.arange(16, 28))
    assert read_latent(write_latent(tmp_path / "b_latent.json", partition="r1")) == {}


WRONG = ["", "[]", "{}", '{"mu": [1, 2]}', '{"mu": "x", "partition": {}}']


@pytest.mark.parametrize("text", WRONG)
def test_file_without_latent_is_named(tmp_path, text):
    path = tmp_path / "bad_latent.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad_latent\.json must be a latent"):
        read_latent(path)
    with pytest.raises(ValueError, match="must hold 128 finite numbers"):
        read_latent(write_latent(path, mu=[1.0, 2.0]))


def test_latent_of_the_first_visit_is_read_relative_to_the_table(tmp_path):
    (tmp_path / "latents").mkdir()
    write_latent(tmp_path / "latents" / "first_latent.json")
    table = tmp_path / "visits.csv"
    table.write_text(
        "patient_id,time_years,volume_mm3,latent\n"
        "a,1,900,nowhere.json\na,0,700,latents/first_latent.json\nb,0,500,\nb,1,600,\n"
    )
    first, second = read_growth_csv(table)
    np.testing.assert_array_equal(first.latent["loc"], np.arange(16, 28))
    assert second.latent is None
    assert first.first(1).latent is first.latent
    table.write_text("patient_id,time_years,volume_mm3,latent\na,0,900,nowhere.json\n")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        read_growth_csv(table)


def test_directions_have_unit_spread_over_training_patients_and_average_for_the_unknown():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((2, 5))
    known = [
        patient(str(i), {"loc": rng.standard_normal(2) @ mixing, "shape": np.ones(4)}) for i in range(30)
    ]
    space = LatentDirections.of([*known, patient("unknown", None)])
    assert space.n_directions == 2
    places = np.stack([space(record) for record in known])
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(places.std(axis=0), 1, atol=1e-9)
    np.testing.assert_array_equal(space(patient("unknown", None)), np.zeros(2))


def test_latents_of_two_networks_are_refused():
    one, other = patient("one", {"loc": np.zeros(3)}), patient("other", {"loc": np.zeros(4)})
    with pytest.raises(ValueError, match="patient 'other' must have a latent with the parts"):
        LatentDirections.of([one, other])
    with pytest.raises(ValueError, match="one network"):
        LatentDirections.of([one, patient("two", {"loc": np.ones(3)})])(other)
