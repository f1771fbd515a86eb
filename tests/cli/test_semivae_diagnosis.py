"""`revoxel semivae evaluate | traverse | check` on a terminal: results, exit codes, one-line errors."""

import json

import pytest
from typer.testing import CliRunner

from revoxel.cli.main import app
from semivae_folds import write_folds
from tiny_semivae import tiny_checkpoint
from tumour_visits import write_visit


def run(*words):
    return CliRunner().invoke(app, ["semivae", *map(str, words)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_folds(tmp_path_factory.mktemp("study"), 3, 3)


def test_evaluate_tells_gates_and_keeps_what_was_made(study, weights, tmp_path):
    words = ("evaluate", study, "--checkpoint", weights, "-o", tmp_path / "out", "--probe-patients", 0)
    dry = run(*words, "--dry-run")
    assert "3 scans of 3 patients" in dry.output
    assert not (tmp_path / "out").exists()
    done = run(*words, "--cubes", tmp_path / "cubes")
    assert done.exit_code == 0, done.output
    assert "failed" in done.output
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["command"].startswith("revoxel")
    assert len(list((tmp_path / "cubes").iterdir())) == 3
    assert "kept" in run(*words).output
    other = run(*words, "--fold", "fold1")
    assert other.exit_code == 2
    assert "fold must be one of" in other.output


def test_traverse_writes_a_picture_and_keeps_what_was_made(weights, tmp_path):
    folder = write_visit(tmp_path / "scan", "p1")
    words = ("traverse", folder, "--checkpoint", weights, "-o", tmp_path / "out", "--steps", 3)
    words += ("--features", "wt.log_volume", "--residual", 1, "--pulses", "t2w")
    dry = run(*words, "--dry-run")
    assert "new" in dry.output
    assert not (tmp_path / "out").exists()
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "wt.log_volume" in done.output
    names = {path.name for path in (tmp_path / "out" / "p1").iterdir()}
    assert "p1_wt.log_volume_t2w.nii.gz" in names
    assert "p1_traversal.gif" in names
    before = (tmp_path / "out" / "p1" / "p1_traversal.json").stat().st_mtime_ns
    assert run(*words).exit_code == 0
    assert (tmp_path / "out" / "p1" / "p1_traversal.json").stat().st_mtime_ns == before
    for wrong, message in (
        (("--pulses", "t9"), "--pulses must be"),
        (("--features", "volume"), "features must"),
    ):
        answer = run(*words, *wrong, "--overwrite")
        assert answer.exit_code == 2
        assert message in answer.output


def test_traverse_goes_on_when_a_visit_fails(weights, tmp_path):
    for name in ("p1", "p2"):
        write_visit(tmp_path / "scans" / name, name)
    (tmp_path / "scans" / "p1" / "p1-t1c.nii.gz").write_bytes(b"no image")
    answer = run(
        "traverse", tmp_path / "scans", "--checkpoint", weights, "-o", tmp_path / "out", "--steps", 3
    )
    assert answer.exit_code == 1
    assert "p1:" in answer.output
    assert (tmp_path / "out" / "p2" / "p2_traversal.png").is_file()


def test_check_tells_what_to_do_with_a_study_and_with_a_run(study, tmp_path):
    answer = run("check", study)
    assert answer.exit_code == 1
    assert "wrong" in answer.output
    assert "right" in answer.output
    configuration = tmp_path / "run" / "configuration.yaml"
    configuration.parent.mkdir()
    configuration.write_text("loss: {free_bits: {residual: 0.2}}\n")
    unfinished = run("check", tmp_path / "run")
    assert unfinished.exit_code == 2
    assert "to its end" in unfinished.output
    (tmp_path / "run" / "validation.json").write_text(json.dumps({"figures": {"diag/kl_residual": 30.0}}))
    (tmp_path / "run" / "training_log.csv").write_text("epoch,val_total\n1,2.0\n2,1.0\n")
    assert run("check", tmp_path / "run").exit_code == 0
    both = run("check", tmp_path / "run", "--cfg", configuration)
    assert both.exit_code == 2
    assert "must be left out" in both.output
