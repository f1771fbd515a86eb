"""`revoxel report`: files, exit codes, messages."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

import tiny_study
from report_folder import write_cohort
from revoxel.cli.main import app


@pytest.fixture(scope="module")
def cohort(brain, brain_affine, tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), brain, brain_affine)


def run(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)], env={"COLUMNS": "160"})


def test_page_is_written_and_what_is_not_shown_is_listed(cohort, tmp_path) -> None:
    copied = shutil.copytree(cohort, tmp_path / "out")
    result = run(copied, "--max-viewers", 0)
    assert result.exit_code == 1
    assert "2 run(s)" in result.output
    assert "not shown: lost 5mm t1c: failed: lost.nii.gz must be <readable>" in result.stderr
    assert (copied / "report.html").is_file()
    again = run(copied, "--max-viewers", 0)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_complete_folder_gives_exit_code_0_and_truths_of_a_manifest(cohort, tmp_path) -> None:
    out = tmp_path / "page.html"
    manifest = cohort.parent / "manifest.json"
    result = run(cohort / "anna_5mm_t1c", "-o", out, "--manifest", manifest, "--max-viewers", 0)
    assert result.exit_code == 0, result.output
    assert "Against the truth" in out.read_text()


def test_folder_without_results_is_refused(tmp_path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "must hold *_sagnef.json or evaluation.json" in result.stderr
    assert not list(tmp_path.iterdir())


def test_evaluation_is_reported_with_its_tables(tmp_path) -> None:
    study = tiny_study.write_study(tmp_path)
    options = ("--fold", "fold0", "--spacings", "5mm", "--pulses", "t1c", "--device", "cpu")
    arguments = ["evaluate", str(study), *options, "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    result = run(tmp_path / "out")
    assert result.exit_code == 0, result.output
    html = (tmp_path / "out" / "report.html").read_text()
    for text in ("oracle: 9-cube", "best expert + consistency", "What superresolve decides", "Made from"):
        assert text in html
    (tmp_path / "out" / "evaluation.json").write_text('{"cases": [{}], "seed": 0}')
    damaged = run(tmp_path / "out", "--overwrite")
    assert damaged.exit_code == 1
    assert "must be a record of revoxel evaluate" in damaged.stderr
