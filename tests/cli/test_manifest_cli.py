"""`revoxel manifest` and `revoxel experts --manifest`: what a user sees, and exit codes."""

import json

import pytest
from typer.testing import CliRunner

from revoxel.cli.main import app
from revoxel.experts.names import Expert
from study_folder import expert_path, truncated, write_subject

runner = CliRunner()


def call(*arguments):
    return runner.invoke(app, [str(argument) for argument in arguments], terminal_width=200)


@pytest.fixture
def study(tmp_path):
    """Three patients, one expert volume missing."""
    for seed, subject in enumerate(("p1", "p2", "p3")):
        scan = write_subject(tmp_path, subject, seed=seed)
    expert_path(scan, Expert.UNIRES).unlink()
    return tmp_path


def test_a_study_becomes_manifest_and_table(study):
    answer = call("manifest", study, "-o", study / "m.json", "--folds", "3")
    assert answer.exit_code == 0, answer.output
    assert "5mm t1c" in answer.output
    assert "1 expert volumes are missing" in answer.output
    assert [fold["name"] for fold in json.loads((study / "m.json").read_text())["folds"]] == [
        "fold0", "fold1", "fold2"
    ]  # fmt: skip
    assert (study / "m.csv").is_file()


def test_a_dry_run_reads_and_writes_nothing(study):
    truncated(study / "5mm" / "p1-t1c.nii.gz")
    answer = call("manifest", study, "-o", study / "m.json", "--dry-run")
    assert answer.exit_code == 0
    assert not (study / "m.json").exists()


def test_a_row_left_out_shows_in_output_and_exit_code(study):
    truncated(study / "5mm" / "p1-t1c.nii.gz")
    answer = call("manifest", study, "-o", study / "m.json", "--folds", "0")
    assert answer.exit_code == 1
    assert "p1-t1c 5mm: lr: " in answer.output
    assert len(json.loads((study / "m.json").read_text())["cases"]) == 2


def test_an_existing_manifest_is_kept(study):
    (study / "m.json").write_text("mine")
    answer = call("manifest", study, "-o", study / "m.json")
    assert answer.exit_code == 2
    assert "--overwrite" in answer.output
    assert (study / "m.json").read_text() == "mine"
    assert call("manifest", study, "-o", study / "m.json", "--folds", "3", "--overwrite").exit_code == 0


def test_too_many_folds_are_explained_in_one_line(study):
    answer = call("manifest", study, "-o", study / "m.json")
    assert answer.exit_code == 2
    assert "number of folds" in answer.output
    assert not (study / "m.json").exists()


def test_changed_files_show_on_verifying(study):
    call("manifest", study, "-o", study / "m.json", "--folds", "0")
    assert call("manifest", "--verify", study / "m.json").exit_code == 0
    truncated(study / "5mm" / "p1-t1c.nii.gz")
    answer = call("manifest", "--verify", study / "m.json")
    assert answer.exit_code == 1
    assert "cases.0.lr" in answer.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("manifest",), "ROOT"),
        (("manifest", ".", "--pulses", "t9"), "--pulses must be some of"),
        (("manifest", ".", "--experts", ""), "--experts must name"),
        (("manifest", ".", "--layout", "own"), "layout must be"),
        (("experts",), "a scan and -o"),
        (("experts", "--manifest", "m.json", "--profile", "rect:5"), "--manifest must stand"),
        (("experts", "scan.nii.gz", "--manifest", "m.json"), "--manifest must stand"),
        (("experts", "--manifest", "none.json"), "none.json"),
    ],
)
def test_wrong_use_is_explained_in_one_line(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = call(*arguments)
    assert answer.exit_code == 2
    assert words in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_missing_experts_are_filled_in(study):
    call("manifest", study, "-o", study / "m.json", "--folds", "0")
    assert "p3-t1c 5mm" in call("experts", "--manifest", study / "m.json", "--dry-run").output
    answer = call("experts", "--manifest", study / "m.json")
    assert answer.exit_code == 0, answer.output
    assert "1 rows filled, 0 failed" in answer.output
    assert "all 3 rows have theirs" in call("experts", "--manifest", study / "m.json").output


def test_a_failing_row_shows_in_output_and_exit_code(study):
    call("manifest", study, "-o", study / "m.json", "--folds", "0")
    truncated(study / "5mm" / "p3-t1c.nii.gz")
    answer = call("experts", "--manifest", study / "m.json")
    assert answer.exit_code == 1
    assert "p3-t1c 5mm: " in answer.output
