"""`revoxel semivae ...` on a terminal: results, exit codes, one-line errors."""

import json

import numpy as np
from typer.testing import CliRunner

from revoxel.cli.main import app
from revoxel.semivae.growth import forecast
from revoxel.semivae.growth.models import Model
from tumours import write_study


def run(*words):
    return CliRunner().invoke(app, ["semivae", *map(str, words)])


def test_features_then_normalizer(tmp_path):
    fold = {"name": "fold0", "train": [f"p{i}" for i in range(4)], "val": [], "test": ["p4"]}
    study = write_study(tmp_path, (8.0, 9.0, 10.0, 11.0, 12.0), folds=[fold])
    table = tmp_path / "table.json"
    dry = run("features", study, "-o", table, "--dry-run")
    assert "5 scans of 5 patients" in dry.output
    assert not table.exists()
    options = ("--size", 40, "--workers", 1)
    assert run("features", study, "-o", table, *options).exit_code == 0
    assert "5 kept" in run("features", study, "-o", table, *options).output
    normalizer = tmp_path / "normalizer.json"
    words = ("fit-normalizer", table, "--manifest", study, "--fold", "fold0", "-o", normalizer)
    names = "wt.log_volume,wt.log_surface"
    answer = run(
        *words, "--features", names, "--min-count", 4, "--residualize", "wt.log_surface=wt.log_volume"
    )
    assert answer.exit_code == 0, answer.output
    assert json.loads(normalizer.read_text())["train_ids"] == fold["train"]
    again = run(*words, "--min-count", 4)
    assert again.exit_code == 2
    wrong = run(*words, "--residualize", "volume")
    assert "FEATURE=COVARIATE" in wrong.output


def test_failed_scan_gives_exit_code_one(tmp_path):
    study = write_study(tmp_path, (8.0, 9.0))
    (tmp_path / "p0-0.nii.gz").unlink()
    answer = run("features", study, "-o", tmp_path / "t.json", "--voxel-mm", "native", "--workers", 1)
    assert answer.exit_code == 1
    assert "1 failed" in answer.output


def test_study_file_is_never_written_over(tmp_path):
    study = write_study(tmp_path, (8.0,))
    beside = study.rename(tmp_path / "table.record.json")
    for out in (beside, tmp_path / "table.json"):
        answer = run("features", beside, "-o", out, "--overwrite")
        assert answer.exit_code == 2
        assert "must not replace the study file" in answer.output
    assert "scans" in json.loads(beside.read_text())


def test_growth_writes_its_results(tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "COMPARED", [Model.PERSISTENCE, Model.LINEAR])
    rng = np.random.default_rng(0)
    rows = [f"p{i},{t},{900 * (1 + 0.3 * t) * rng.lognormal(0, 0.05)}" for i in range(6) for t in range(4)]
    source = tmp_path / "visits.csv"
    source.write_text("\n".join(["patient_id,time_years,volume_mm3", *rows]) + "\n")
    assert "6 patients, 24 visits" in run("growth", source, "--dry-run", "-o", tmp_path / "g").output
    answer = run("growth", source, "--at", "1,2", "-o", tmp_path / "g")
    assert answer.exit_code == 0, answer.output
    assert "forecasts by linear" in answer.output
    assert len((tmp_path / "g" / "forecast.csv").read_text().splitlines()) == 13


def test_wrong_input_is_one_line(tmp_path):
    for words in (
        ("growth", tmp_path / "none.csv"),
        ("growth", tmp_path / "none.csv", "--at", "soon"),
        ("features", tmp_path / "none.json"),
    ):
        answer = run(*words)
        assert answer.exit_code == 2
        assert answer.output.strip().startswith("error: ")
        assert len(answer.output.strip().splitlines()) == 1
