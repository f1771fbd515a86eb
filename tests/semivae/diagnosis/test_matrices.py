"""Cross-probe and intervention matrices, and dependence of parts, where the answer is known."""

import numpy as np
import pytest
import torch

from revoxel.semivae.diagnosis.dependence import part_dependence
from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.diagnosis.interventions import intervention_matrix
from revoxel.semivae.diagnosis.matrix import NamedMatrix
from revoxel.semivae.diagnosis.probing import cross_probe_matrix
from tiny_latents import SIDE, draw


def test_probe_finds_a_feature_in_its_part_and_nowhere_else(network, partition):
    train, held_out = (encode_scans(network, partition, draw(partition, 80, seed)) for seed in (1, 2))
    matrix = cross_probe_matrix(partition, train, held_out)
    assert matrix.rows == ("vol", "loc", "residual")
    assert matrix.at("vol", "wt.log_volume") > 0.99
    assert matrix.at("loc", "wt.centroid_a_mm") > 0.99
    assert matrix.at("residual", "wt.log_volume") < 0.1
    assert matrix.at("vol", "wt.centroid_r_mm") < 0.1


def test_probe_finds_what_leaks_into_another_part(network, partition):
    train, held_out = (encode_scans(network, partition, draw(partition, 80, seed)) for seed in (1, 2))
    for latents in (train, held_out):
        latents.mu[:, partition.slices["residual"].start] = latents.targets[:, 0]
    assert cross_probe_matrix(partition, train, held_out).at("residual", "wt.log_volume") > 0.99


def test_probe_refuses_a_patient_on_both_sides(network, partition, batches):
    latents = encode_scans(network, partition, batches)
    with pytest.raises(ValueError, match="split by patient"):
        cross_probe_matrix(partition, latents, latents)


def test_exchanging_a_part_moves_only_its_own_predictions(network, partition, batches):
    mu = encode_scans(network, partition, batches).mu
    found = intervention_matrix(network, partition, mu)
    assert found.matrix.rows == ("vol", "loc", "residual")
    assert found.matrix.own() == pytest.approx({"vol": 1.0, "loc": 1.0}, abs=1e-5)
    assert max(found.matrix.others().values()) < 1e-9
    assert found.obeyed == pytest.approx({"vol": 1.0, "loc": 1.0}, abs=1e-5)


def test_decoder_that_ignores_its_latent_fails_the_matrix(blind_network, partition, batches):
    mu = encode_scans(blind_network, partition, batches).mu
    found = intervention_matrix(blind_network, partition, mu)
    assert max(found.matrix.others().values()) > 0.2
    assert max(found.obeyed.values()) < 0.05


def test_part_that_predicts_the_same_of_all_scans_asks_for_nothing(network, partition, batches):
    mu = encode_scans(network, partition, batches).mu
    mu[:, partition.slices["loc"]] *= 1e-2
    found = intervention_matrix(network, partition, mu)
    assert np.isnan(found.matrix.at("vol", "loc"))
    assert found.figures()["intervention/diagonal_min"] == pytest.approx(1.0, abs=1e-5)
    silent = intervention_matrix(network, partition, 1e-3 * mu).figures()
    assert np.isnan(silent["intervention/diagonal_min"])


def test_marks_in_the_air_do_not_count_inside_the_brain(network, partition, batches):
    """The latent of this network stands in the first voxels: take them for air."""
    mu = encode_scans(network, partition, batches).mu
    brain = torch.ones(len(mu), 1, SIDE, SIDE, SIDE, dtype=torch.bool)
    assert intervention_matrix(network, partition, mu, brain).obeyed["loc"] == pytest.approx(1, abs=1e-5)
    brain[:, :, 0] = False
    assert max(intervention_matrix(network, partition, mu, brain).obeyed.values()) < 0.05


def test_interventions_need_two_scans(network, partition):
    with pytest.raises(ValueError, match="at least 2 scans"):
        intervention_matrix(network, partition, np.zeros((1, partition.z_dim)))


def test_dependence_that_cancels_in_the_mean_is_seen():
    factor = np.random.default_rng(0).normal(size=(200, 1))
    noise = np.random.default_rng(1).normal(size=(200, 2))
    mu = np.hstack([factor, -factor, factor, -factor, noise])
    logged = part_dependence(mu, {"vol": slice(0, 2), "shape": slice(2, 4), "residual": slice(4, 6)})
    assert logged["semivae/corr_z_vol_z_shape"] == pytest.approx(0, abs=1e-9)
    assert logged["dcor/z_vol_z_shape"] > 0.99
    assert abs(logged["dcor/z_vol_z_residual"]) < 0.3
    assert np.isnan(part_dependence(mu[:3], {"a": slice(0, 2), "b": slice(2, 4)})["dcor/z_a_z_b"])


def test_matrix_names_fit_its_values():
    matrix = NamedMatrix(("a", "b"), ("a",), np.array([[1.0], [2.0]]))
    assert matrix.own() == {"a": 1.0}
    assert matrix.others() == {"b->a": 2.0}
    assert matrix.as_dict() == {"a": {"a": 1.0}, "b": {"a": 2.0}}
    with pytest.raises(ValueError, match="name every row"):
        NamedMatrix(("a",), ("a",), np.zeros((2, 1)))
