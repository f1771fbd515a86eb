"""Simulate, prepare, refine and evaluate on the command line, one after the other."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ct_studies
from revoxel.cli.main import app


def revoxel(*words: object) -> str:
    answer = CliRunner().invoke(app, ["ct", *map(str, words)])
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return ct_studies.write_study(tmp_path_factory.mktemp("set"), ("p1",))


def test_simulated_chests_can_be_prepared_refined_and_evaluated(tmp_path):
    revoxel("simulate", "-o", tmp_path / "chests", "--patients", 1, "--size", 32, "--spacing-mm", 10)
    revoxel("prepare", tmp_path / "chests", "-o", tmp_path / "set", "--spacing-mm", 10)
    (coarse,) = (tmp_path / "set" / "coarse").glob("*.nii.gz")
    (fine,) = (tmp_path / "set" / "fine").glob("*.nii.gz")
    words = ("refine", coarse, "-o", tmp_path / "out", "--truth", fine, "--method", "trilinear+projection")
    assert "block means differ" in revoxel(*words)
    assert "done before, kept" in revoxel(*words)
    said = revoxel("evaluate", "--data", tmp_path / "set", "-o", tmp_path / "scores")
    assert "trilinear+projection" in said
    assert len(json.loads((tmp_path / "scores" / "metrics.json").read_text())) == 1


def test_dry_runs_write_nothing(study, tmp_path):
    said = revoxel("refine", study.parent / "coarse" / "p1.nii.gz", "-o", tmp_path / "out", "--dry-run")
    assert "16 x 16 x 16 to 64 x 64 x 64" in said
    assert "Dry run" in revoxel("evaluate", "--data", study, "-o", tmp_path / "out", "--dry-run")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("refine", "nothing.nii.gz"), "must be an existing file"),
        (("refine", "COARSE", "--frontal", "pa.png"), "both views must be given"),
        (("refine", "COARSE", "--method", "network", "--bundle", "nope"), "must be the weights of a network"),
        (("refine", "COARSE", "--memory-gb", "0.1", "--method", "trilinear+projection"), ""),
        (("evaluate", "--data", "nothing"), "must be a CT study"),
        (("evaluate", "--data", "STUDY", "--fold", "nope"), "fold must be one of"),
    ],
)
def test_errors_are_one_line_with_a_remedy(study, tmp_path, words, reason):
    places = {"COARSE": study.parent / "coarse" / "p1.nii.gz", "STUDY": study}
    line = [str(places.get(word, word)) for word in words]
    answer = CliRunner().invoke(app, ["ct", *line, "-o", str(tmp_path / "out")])
    assert answer.exit_code == (2 if reason else 0), answer.output
    assert reason in " ".join(answer.output.split())
