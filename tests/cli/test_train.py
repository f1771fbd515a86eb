"""`revoxel train`: a campaign goes on after failures, leaves finished models alone, and sums up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import tiny_study
from revoxel.cli.main import app

MODEL = "5mm/model_data/t1c"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two folds; p3, which only fold1 trains on, has a broken volume."""
    folder = tmp_path_factory.mktemp("study")
    tiny_study.write_broken_campaign(folder)
    return folder


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """The verb must leave logging as it was."""
    before = (logging.root.handlers[:], logging.root.level, logging.getLogger("revoxel").handlers[:])
    yield
    assert before == (logging.root.handlers, logging.root.level, logging.getLogger("revoxel").handlers)


def _train(study: Path, *arguments: str) -> Result:
    line = ["train", "--manifest", str(study / "manifest.json"), "--cfg", str(study / "tiny.yaml")]
    line += ["--out", str(study / "out"), "--set", "validation_patches=1", *arguments]
    return CliRunner().invoke(app, line, env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def first(study: Path) -> Result:
    """What the first run says."""
    return _train(study)


@pytest.mark.slow
def test_one_failed_model_does_not_stop_the_others(study: Path, first: Result) -> None:
    assert first.exit_code == 1
    assert "1/2 5mm t1c fold0: epochs 1 to 1, evaluate" in first.stdout
    assert "failed: 5mm t1c fold1:" in first.stderr
    assert "p3_SR-SMORE.nii.gz must be a readable image" in first.stderr
    assert "Traceback" in (study / "out" / MODEL / "fold1" / "failure.txt").read_text()
    row = next(line for line in first.stdout.splitlines() if line.startswith("│ 5mm t1c fold0"))
    assert "(" in row  # the best expert is named beside its PSNR
    assert str(study / "out" / MODEL / "fold0") in first.stdout


@pytest.mark.slow
def test_outputs_are_the_documented_tree(study: Path, first: Result) -> None:
    folder = study / "out" / MODEL / "fold0"
    assert len(list(folder.glob("model_epoch001_val*.pt"))) == 1
    for name in ("last.pt", "training_log.csv", "simplex.json", "test_report.json", "tensorboard"):
        assert (folder / name).exists()
    assert (study / "out" / "5mm" / "output_volumes" / "p2-t1c.nii.gz").is_file()


@pytest.mark.slow
def test_same_line_again_continues_and_leaves_finished_models_alone(study: Path, first: Result) -> None:
    kept = study / "out" / MODEL / "fold0"
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*")}
    (study / "p3_SR-SMORE.nii.gz").write_bytes((study / "kept").read_bytes())
    again = _train(study)
    assert again.exit_code == 0, again.stderr
    assert "1/2 5mm t1c fold0: finished" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*")} == before
    assert not (study / "out" / MODEL / "fold1" / "failure.txt").exists()
    dry = _train(study, "--dry-run")
    assert dry.stdout.count("finished") == 2
    longer = _train(study, "--dry-run", "--set", "epochs=3")
    assert longer.stdout.count("epochs 2 to 3, evaluate") == 2
    other = _train(study, "--dry-run", "--set", "learning_rate=0.01")
    assert "began with 0.001" in " ".join(other.stdout.split())
    anew = _train(study, "--dry-run", "--set", "learning_rate=0.01", "--overwrite")
    assert anew.stdout.count("epochs 1 to 1, evaluate") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--spacings", "4mm"], "--spacings must be some of 3mm, 5mm, 7mm, got 4mm"),
        (["--pulses", "t1"], "--pulses must be some of"),
        (["--set", "epochs"], "--set must be KEY=VALUE"),
        (["--set", "epochs=$__import__('os')"], "with a plain value"),
        (["--set", "epoch=2"], "must name values of train.json"),
        (["--folds", "fold9"], "fold must be one of"),
        (["--cfg", "none.yaml"], "must be an existing YAML file"),
        (["--manifest", "none.json"], "none.json"),
        (["--device", "cuda:7"], "device must exist"),
    ],
)
def test_wrong_options_are_one_line(study: Path, arguments: list[str], words: str) -> None:
    result = _train(study, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
