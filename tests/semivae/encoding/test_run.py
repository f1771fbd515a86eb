"""A visit in; latent, predictions, record and picture out, or nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from revoxel.core.provenance import read_sidecar, sha256_of
from revoxel.core.pulses import Pulse
from revoxel.semivae.encoding.planning import EncodeSettings, plan_encoding
from revoxel.semivae.encoding.run import encode
from revoxel.semivae.encoding.visits import Visit, find_visits
from revoxel.semivae.network.models import load_model
from revoxel.semivae.scans.cube import cube_of
from tiny_semivae import PARTITION, tiny_checkpoint
from tumour_visits import write_visit


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


@pytest.fixture(scope="module")
def visit(tmp_path_factory) -> Visit:
    (found,) = find_visits([write_visit(tmp_path_factory.mktemp("scans"), "p1")])
    return found


def encoded(visit, model, out, **settings):
    plan = plan_encoding(visit, out, EncodeSettings(model.path, **settings))
    encode(plan, model)
    return read_sidecar(out / f"{visit.name}_latent.json")


@pytest.fixture(scope="module")
def record(visit, model, tmp_path_factory):
    return encoded(visit, model, tmp_path_factory.mktemp("out"))


def test_latent_is_the_posterior_of_the_cube(record, visit, model):
    cube = cube_of(visit.images, visit.label, model.grid)
    with torch.no_grad():
        mu, logvar = model.network.encode(cube.image[None], cube.available[None])
    np.testing.assert_allclose(record["mu"], mu[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(record["sd"], torch.exp(0.5 * logvar[0]), rtol=1e-5)
    assert record["partition"] == PARTITION.to_dict()


def test_predictions_are_in_units_beside_what_was_measured(record, model):
    volume = record["predictions"]["wt.log_volume"]
    assert volume["unit"] == "ln(mm^3)"
    assert volume["value"] == pytest.approx(model.features_of(np.array(record["mu"]))["wt.log_volume"])
    assert volume["sd"] > 0
    assert volume["measured"] == pytest.approx(np.log(record["measured"]["values"]["wt.volume_mm3"]))
    scale, centre = model.normalizer.fitted.scale[0], model.normalizer.fitted.centre[0]
    assert volume["standardised_measured"] == pytest.approx((volume["measured"] - centre) / scale, rel=1e-5)
    assert 0 < record["presence"]["et"] < 1


def test_record_names_weights_inputs_and_versions(record, visit, model):
    assert record["model"]["sha256"] == sha256_of(model.path)
    assert record["request"]["sha256"]["t1c"] == sha256_of(visit.images[Pulse.t1c])
    assert record["model"]["training"]["patients_sha256"]
    assert {"revoxel", "versions", "notice", "time_utc"} <= set(record)


def test_scan_unlike_the_training_data_is_warned_about(record, visit, model, tmp_path):
    """The bank of the fixture lies at 0 with covariance 1; one far away makes the same scan a stranger."""
    assert record["coverage"]["inside_99_percent"] is True
    assert record["warnings"] == []
    far = replace(model, bank=replace(model.bank, mean=model.bank.mean + 20))
    told = encoded(visit, far, tmp_path / "far")
    assert told["coverage"]["distance"] > 10
    assert "unlike the training data" in told["warnings"][0]
    blind = encoded(visit, replace(model, bank=None), tmp_path / "blind")
    assert blind["coverage"] is None
    assert "cannot be told" in blind["warnings"][0]


def test_missing_pulses_are_zeros_and_said(visit, model, tmp_path):
    alone = replace(visit, images={Pulse.t1c: visit.images[Pulse.t1c]}, label=None)
    told = encoded(alone, model, tmp_path)
    assert told["available"] == {"t1c": True, "t1n": False, "t2f": False, "t2w": False}
    assert told["measured"] is None
    assert told["predictions"]["wt.log_volume"]["measured"] is None
    assert told["warnings"] == ["Without t1n, t2f, t2w: the latent is a guess from the other pulses."]
    assert set(told["reconstruction"]) == {"t1c"}
    assert (tmp_path / "p1_latent.png").stat().st_size > 10_000


def test_what_is_done_stays_done_until_something_changes(visit, model, tmp_path):
    images = {pulse: Path(shutil.copy(path, tmp_path)) for pulse, path in visit.images.items()}
    own = replace(visit, images=images)
    settings, out = EncodeSettings(model.path), tmp_path / "out"
    encode(plan_encoding(own, out, settings), model)
    assert plan_encoding(own, out, settings).why == ""
    shutil.copy(own.images[Pulse.t1c], own.images[Pulse.t2w])
    with pytest.raises(FileExistsError, match="input changed: t2w"):
        plan_encoding(own, out, settings)
    assert plan_encoding(own, out, replace(settings, overwrite=True)).why == "input changed: t2w"


def test_failed_encoding_leaves_nothing_behind(visit, model, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("revoxel.semivae.encoding.run.write_sidecar", full)
    with pytest.raises(OSError, match="No space left"):
        encoded(visit, model, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_input_is_named(visit, model, tmp_path):
    with pytest.raises(ValueError, match="p1 must have an image"):
        encoded(replace(visit, images={}), model, tmp_path)
    with pytest.raises(FileNotFoundError, match="t1c of p1"):
        encoded(replace(visit, images={Pulse.t1c: tmp_path / "none.nii.gz"}), model, tmp_path)
    cut = tmp_path / "cut-t1c.nii.gz"
    cut.write_bytes(visit.images[Pulse.t1c].read_bytes()[:400])
    with pytest.raises(ValueError, match="readable image"):
        encoded(replace(visit, images={Pulse.t1c: cut}), model, tmp_path)
    assert not list(tmp_path.glob("*_latent.*"))


def test_record_is_json_without_nan(record):
    json.dumps(record, allow_nan=False)
