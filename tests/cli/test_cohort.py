"""`revoxel cohort`: the whole line works, says what it would do, and can be stopped at any time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import tiny_study
from revoxel.cli.main import app

FEW = ["--jobs", "1", "--cores-per-worker", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), side=20)


def cohort(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["cohort", *map(str, words)], env={"COLUMNS": "160"})


@pytest.mark.slow
def test_rows_are_predicted_and_scored_as_one_by_one(study: Path, tmp_path: Path) -> None:
    run = ["run", study, "--verb", "evaluate", "--fold", "fold0", *FEW]
    result = cohort(*run, "-o", tmp_path / "many")
    assert result.exit_code == 0, result.output
    assert "1 cases scored, 0 of them before" in result.stdout
    line = ["evaluate", str(study), "--fold", "fold0", "-o", str(tmp_path / "one"), "--device", "cpu"]
    assert CliRunner().invoke(app, line).exit_code == 0
    assert (tmp_path / "many" / "evaluation.csv").read_text() == (
        tmp_path / "one" / "evaluation.csv"
    ).read_text()
    tables = [
        json.loads((tmp_path / name / "evaluation.json").read_text())["claims"] for name in ("many", "one")
    ]
    assert tables[0] == tables[1]
    account = json.loads((tmp_path / "many" / "cohort.json").read_text())
    case = next(task for task in account["tasks"] if task["folder"] == "cases")
    assert (tmp_path / "many" / case["record"]).is_file()
    dry = cohort(*run, "-o", tmp_path / "many", "--dry-run")
    assert "1 test cases (1 with a result)" in dry.stdout


@pytest.mark.slow
def test_stopped_run_keeps_what_is_done_and_leaves_no_process(study: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-c", "from revoxel.cli.main import app; app()", "cohort", "run", str(study)]
    line += ["--verb", "predict", "-o", str(tmp_path), *FEW]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for output in process.stdout:
        if " done in " in output:
            break
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends Ctrl-C to the workers as well
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "stopped: what is done is kept" in errors
    assert "Traceback" not in errors
    states = [task["state"] for task in json.loads((tmp_path / "cohort.json").read_text())["tasks"]]
    assert "done" in states
    assert "running" not in states
    limit = time.monotonic() + 60
    while _alive(process.pid) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not _alive(process.pid)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_dry_run_says_what_would_be_done_and_why(study: Path, tmp_path: Path) -> None:
    result = cohort("run", study, "--verb", "predict", "-o", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "4 of 4 tasks to do, nothing is written" in " ".join(result.stdout.split())
    assert "p3_5mm_t1c" in result.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--verb", "predict", "--fusion", "mean"], "--fusion must not go with --verb predict"),
        (["--verb", "superresolve", "--fold", "fold0"], "--fold must not go with --verb superresolve"),
        (["--verb", "evaluate"], "--fold must be different names"),
        (["--scheduler", "sge"], "--scheduler must be local"),
        (["--walltime", "1:00"], "--walltime must go with --scheduler slurm"),
        (["--layout", "bids"], "must be a BIDS name"),
        (["--voxel-mm", "-1"], "voxel size must be a positive number"),
        (["--ckpt", "none.pt", "--verb", "predict"], "none.pt"),
    ],
)
def test_wrong_options_are_one_line(study: Path, tmp_path: Path, words: list[str], message: str) -> None:
    result = cohort("run", study, "-o", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_manifest_needs_one_source(tmp_path: Path) -> None:
    both = cohort("manifest", "--bids", tmp_path, "--brats", tmp_path)
    assert both.exit_code == 2
    assert "one of --bids ROOT and --brats ROOT" in both.stderr
    none = cohort("manifest", "--bids", tmp_path / "none", "-o", tmp_path / "m.json")
    assert none.exit_code == 2
    assert "dataset_description.json" in none.stderr
