"""`revoxel evaluate`: plan, table, files, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiny_study
from revoxel.cli.main import app

OPTIONS = ("--fold", "fold0", "--spacings", "5mm", "--pulses", "t1c", "--device", "cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"))


def run(*arguments: object, columns: int = 160):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": str(columns)})


def test_dry_run_lists_cases_and_writes_nothing(study: Path, tmp_path: Path) -> None:
    result = run(study, *OPTIONS, "-o", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "1 test cases (0 with a result), 2 + 0 training rows" in result.output
    assert not (tmp_path / "out").exists()


def test_table_fits_a_narrow_console_and_files_are_named(study: Path, tmp_path: Path) -> None:
    result = run(study, *OPTIONS, "-o", tmp_path / "out", columns=80)
    assert result.exit_code == 0, result.output
    for text in ("best expert + consistency", "oracle: 9-cube", "evaluation.html", "1 cases scored"):
        assert text in result.output
    assert {path.suffix for path in (tmp_path / "out").glob("evaluation.*")} == {
        ".csv",
        ".json",
        ".png",
        ".html",
    }


def test_case_that_cannot_be_scored_gives_exit_code_1(tmp_path: Path) -> None:
    manifest = tiny_study.write_study(tmp_path)
    (tmp_path / "p3_SR-UNIRES.nii.gz").write_bytes(b"")
    result = run(manifest, *OPTIONS, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "p3_SR-UNIRES.nii.gz" in result.stderr
    assert (tmp_path / "out" / "evaluation.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fold", "fold7"), "fold must be one of ['fold0']"),
        (("--fold", "fold0", "--spacings", "4mm"), "--spacings must be some of 3mm, 5mm, 7mm"),
        (("--fold", ","), "--fold must be different names"),
        (("--fold", "fold0", "--ckpt", "a.pt", "--model-data", "b"), "exclude each other"),
        (("--fold", "fold0", "--ckpt", "a.pt"), "checkpoint must be an existing file"),
    ],
)
def test_bad_options_are_one_line(
    study: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run(study, *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
