"""Test patients are judged once; those that the network has seen are refused; a failure leaves nothing."""

import json

import numpy as np
import pytest

from revoxel.core.provenance import read_sidecar
from revoxel.semivae.diagnosis.evaluation.planning import plan_evaluation
from revoxel.semivae.diagnosis.evaluation.run import evaluate
from revoxel.semivae.network.models import load_model
from revoxel.semivae.study import read_study
from semivae_folds import write_folds
from tiny_semivae import tiny_checkpoint


def quiet(_stage, _share):
    """No progress bar."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return read_study(write_folds(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def done(study, model, tmp_path_factory):
    plan = plan_evaluation(study, None, model, tmp_path_factory.mktemp("out"))
    return plan, evaluate(plan, model, quiet, {"command": "test"})


def test_every_figure_and_gate_is_in_the_record(done, study, model):
    plan, found = done
    record = read_sidecar(plan.paths.metrics)
    assert record["n_patients"] == 4
    assert set(record["scans"]) == {scan.scan_id for scan in study.scans_of(study.folds[0].test)}
    wanted = ("sem/vol_r2", "diag/au_count_residual", "dcor/z_vol_z_residual", "leakage/permutation_r2")
    wanted += ("leakage/blanking_drop", "coverage/inside", "drift/between", "dci_parts/completeness")
    wanted += ("image/tumour_psnr_db", "intervention/off_diagonal_max", "latent_diag/shift_sensitivity")
    assert set(wanted) <= set(record["metrics"])
    assert {gate["metric"] for gate in record["gates"]} == {gate.metric for gate in found.gates}
    # Random weights must not pass.
    assert not record["passed"]
    assert set(record["matrices"]) == {"intervention", "cross_probe"}
    assert plan.paths.picture.stat().st_size == record["n_bytes"]["evaluation.png"]


def test_scans_tell_features_in_their_units(done, study):
    plan, _ = done
    record = read_sidecar(plan.paths.metrics)
    measured = [scan["features"]["wt.log_volume"]["measured"] for scan in record["scans"].values()]
    # Balls of 16 mm radius and more, in voxels of 4 mm.
    assert min(measured) == pytest.approx(np.log(4 / 3 * np.pi * 16**3), abs=0.05)
    assert max(measured) > min(measured) + 1


def test_nothing_unfinished_is_left_and_a_second_run_has_nothing_to_do(done, study, model):
    plan, _ = done
    assert {path.name for path in plan.paths.folder.iterdir()} == {"metrics.json", "evaluation.png"}
    assert plan_evaluation(study, "fold0", model, plan.paths.folder).why == ""


def test_other_results_are_kept_unless_told(done, study, model):
    plan, _ = done
    other = study.model_copy(update={"folds": []})
    with pytest.raises(FileExistsError, match="settings changed"):
        plan_evaluation(other, None, model, plan.paths.folder)
    assert plan_evaluation(other, None, model, plan.paths.folder, overwrite=True).why


def test_patients_of_the_training_are_refused(model, tmp_path):
    study = read_study(write_folds(tmp_path, 3, 3, prefix="p"))
    with pytest.raises(ValueError, match="learnt from, got p"):
        plan_evaluation(study, "fold0", model, tmp_path / "out")


def test_weights_of_a_finished_run_are_those_that_know_their_training_latents(tmp_path):
    tiny_checkpoint(tmp_path / "model_epoch001_val0.500000.pt")
    tiny_checkpoint(tmp_path / "model.pt")
    assert load_model(tmp_path).path.name == "model.pt"


def test_weights_with_another_list_of_patients_are_refused(study, model, tmp_path):
    model.record["training"]["patients_sha256"], kept = "0" * 64, model.record["training"]["patients_sha256"]
    try:
        with pytest.raises(ValueError, match="digest"):
            plan_evaluation(study, "fold0", model, tmp_path)
    finally:
        model.record["training"]["patients_sha256"] = kept


def test_study_without_folds_is_evaluated_without_probes(study, model, tmp_path):
    plan = plan_evaluation(study.model_copy(update={"folds": []}), None, model, tmp_path)
    assert len(plan.test) == len(study.scans)
    assert plan.probes == []
    assert "give the study a fold" in plan.warnings[0]


def test_wrong_folds_and_missing_files_are_told_before_anything_is_read(study, model, tmp_path):
    first = study.folds[0]
    two = study.model_copy(update={"folds": [first, first.model_copy(update={"name": "fold1"})]})
    few = study.model_copy(update={"folds": [first.model_copy(update={"test": first.test[:2]})]})
    blind = study.model_copy(update={"scans": [one.model_copy(update={"images": {}}) for one in study.scans]})
    gone = study.model_copy(update={"folder": tmp_path})
    for wrong, words in (
        (two, "must name one of fold0, fold1"),
        (few, "at least 3 test"),
        (blind, "an image"),
    ):
        with pytest.raises(ValueError, match=words):
            plan_evaluation(wrong, None, model, tmp_path)
    with pytest.raises(FileNotFoundError, match="existing file"):
        plan_evaluation(gone, None, model, tmp_path)


def test_interrupted_evaluation_leaves_no_results_and_goes_on(study, model, tmp_path):
    plan = plan_evaluation(study, None, model, tmp_path)

    def stops(stage, share):
        if stage == "decode":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(plan, model, stops)
    assert plan.paths.existing() == []
    kept = list((plan.paths.work / "cubes").glob("*.pt"))
    assert len(kept) == len(plan.test) + len(plan.probes)


def test_scan_that_cannot_be_measured_is_named(model, tmp_path):
    path = write_folds(tmp_path, 3, 3)
    scan = json.loads(path.read_text())["scans"][0]
    (tmp_path / scan["label"]).write_bytes(b"no label map")
    study = read_study(path)
    plan = plan_evaluation(study, None, model, tmp_path / "out")
    with pytest.raises(ValueError, match=scan["scan_id"]):
        evaluate(plan, model, quiet)
