"""`revoxel semivae synthesise`: a cohort to try everything with, planned, made, kept."""

import pytest
from typer.testing import CliRunner

from revoxel.cli.main import app
from revoxel.semivae.study import read_study


def run(*words):
    return CliRunner().invoke(app, ["semivae", "synthesise", *map(str, words)])


def test_plans_makes_and_keeps_a_cohort(tmp_path):
    words = ("-o", tmp_path / "c", "--patients", 2, "--visits", "2-3", "--voxel-mm", 8, "--seed", 3)
    planned = run(*words, "--dry-run")
    assert planned.exit_code == 0
    assert "2 to make" in planned.output
    assert not (tmp_path / "c").exists()
    made = run(*words)
    assert made.exit_code == 0, made.output
    assert "revoxel semivae growth" in made.output.replace("\n", " ")
    study = read_study(tmp_path / "c" / "study.json")
    assert {scan.patient_id for scan in study.scans} == {"phantom-3-00000", "phantom-3-00001"}
    assert "0 to make, 2 there already" in run(*words, "--dry-run").output


@pytest.mark.parametrize("visits", ["x", "3-2", "0", "2-", "-1"])
def test_impossible_visits_are_one_line(tmp_path, visits):
    result = run("-o", tmp_path, "--visits", visits)
    assert result.exit_code == 2
    assert "visits" in result.output
    assert "Traceback" not in result.output


def test_another_cohort_is_not_replaced(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    result = run("-o", tmp_path, "--patients", 1)
    assert result.exit_code == 2
    assert "--overwrite" in result.output.replace("\n", " ")
