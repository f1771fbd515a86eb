"""A walk changes one feature and no other of its part, lies where the scan lies, is whole or not there."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from revoxel.core.pulses import Pulse
from revoxel.semivae.diagnosis.encoding import predict_features
from revoxel.semivae.encoding.visits import find_visits
from revoxel.semivae.network.models import load_model
from revoxel.semivae.scans.cube import cube_of
from revoxel.semivae.traversal.directions import directions, feature_steps
from revoxel.semivae.traversal.planning import TraverseSettings, plan_traversal
from revoxel.semivae.traversal.run import traverse
from tiny_semivae import PARTITION, tiny_checkpoint
from tumour_visits import write_visit


def quiet(_stage, _share):
    """No progress bar."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    (found,) = find_visits([write_visit(tmp_path_factory.mktemp("scans"), "p1")])
    return found


@pytest.fixture(scope="module")
def done(visit, model, tmp_path_factory):
    plan = plan_traversal(visit, tmp_path_factory.mktemp("out"), TraverseSettings(model.path, n_residual=2))
    traverse(plan, model, quiet)
    return plan


@pytest.mark.parametrize("head", ["linear", "grouped"])
def test_step_of_a_feature_moves_it_by_one_and_no_other(head, tmp_path):
    model = load_model(tiny_checkpoint(tmp_path / "model.pt", head=head))
    mu = np.random.default_rng(0).normal(size=PARTITION.z_dim)
    before = predict_features(model.network, PARTITION, mu[None])[0]
    for at, step in enumerate(feature_steps(model, mu)):
        after = predict_features(model.network, PARTITION, (mu + step)[None])[0]
        expected = np.zeros(len(before))
        expected[at] = 1
        np.testing.assert_allclose(after - before, expected, atol=1e-4)


def test_step_of_a_feature_stays_in_its_part(model):
    (way,) = directions(model, np.zeros(PARTITION.z_dim), ["wt.flatness"], 0)
    outside = np.delete(way.step, np.r_[PARTITION.slices["shape"]])
    assert not outside.any()
    assert way.step.any()


def test_residual_goes_along_what_varies_most(model):
    covariance = np.eye(PARTITION.z_dim)
    spread = np.array([1.0, 3.0, 2.0, 0.5, 4.0])
    covariance[PARTITION.slices["residual"], PARTITION.slices["residual"]] = np.diag(spread**2)
    model.bank.covariance[:] = covariance
    ways = directions(model, np.zeros(PARTITION.z_dim), [], 2)
    assert [way.name for way in ways] == ["residual-4", "residual-1"]
    assert np.linalg.norm(ways[0].step) == pytest.approx(4.0)


def test_volumes_lie_where_the_scan_lies_and_the_middle_is_the_scan(done, model, visit):
    cube = cube_of(visit.images, visit.label, model.grid)
    image = nibabel.load(done.paths.volume("wt.log_volume", Pulse.t2f))
    assert image.shape == (32, 32, 32, 5)
    np.testing.assert_allclose(image.affine, cube.affine)
    others = nibabel.load(done.paths.volume("wt.flatness", Pulse.t2f))
    np.testing.assert_allclose(image.get_fdata()[..., 2], others.get_fdata()[..., 2], atol=1e-5)
    assert np.abs(image.get_fdata()[..., 4] - image.get_fdata()[..., 0]).max() > 0


def test_record_tells_what_was_asked_and_found(done, model):
    record = json.loads(done.paths.record.read_text())
    assert list(record["directions"])[-2:][0].startswith("residual-")
    volume = record["directions"]["wt.log_volume"]
    scale = model.normalizer.fitted.scale[0]
    assert np.diff(volume["asked"]) == pytest.approx([scale] * 4, rel=1e-3)
    assert len(volume["found"]) == 5
    # The random weights of the tiny network do not obey; what is found must not be a copy of what was asked.
    assert volume["found"] != pytest.approx(volume["asked"], rel=1e-3)


def test_film_goes_there_and_back(done):
    with Image.open(done.paths.film) as film:
        assert film.n_frames == 8
    with Image.open(done.paths.picture) as picture:
        assert picture.width > 300


def test_second_run_has_nothing_to_do_and_other_results_are_kept(done, visit, model):
    assert plan_traversal(visit, done.paths.out, done.settings).why == ""
    other = TraverseSettings(model.path, n_steps=3)
    with pytest.raises(FileExistsError, match="settings changed"):
        plan_traversal(visit, done.paths.out, other)


def test_failure_leaves_nothing_behind(visit, model, tmp_path):
    plan = plan_traversal(visit, tmp_path, TraverseSettings(model.path))

    def stops(stage, share):
        if stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        traverse(plan, model, stops)
    assert plan.paths.existing() == []


def test_unknown_features_and_impossible_walks_are_refused(model):
    with pytest.raises(ValueError, match="features must be among"):
        directions(model, np.zeros(PARTITION.z_dim), ["volume"])
    with pytest.raises(ValueError, match="odd number"):
        TraverseSettings(model.path, n_steps=4)
    with pytest.raises(ValueError, match="reach must be"):
        TraverseSettings(model.path, reach_sd=0)
