"""`revoxel semivae encode` on a terminal: results, resume, failures, one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from revoxel.cli.main import app
from revoxel.core.provenance import read_sidecar
from tiny_semivae import tiny_checkpoint
from tumour_visits import write_study, write_visit


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), 2, pulses=("t1c", "t2f"))


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["semivae", "encode", *map(str, words)], env={"COLUMNS": "200"})


def test_study_becomes_records_a_picture_each_and_a_table(study: Path, weights: Path, tmp_path: Path) -> None:
    words = (study, "-o", tmp_path, "--checkpoint", weights, "--threads", "1")
    dry = run(*words, "--dry-run")
    assert "2 of 2 visits to encode" in dry.output
    assert list(tmp_path.iterdir()) == []
    answer = run(*words)
    assert answer.exit_code == 0, answer.output
    assert {path.name for path in tmp_path.iterdir()} == {
        "latents.csv",
        *(f"p{n}-0_latent.{kind}" for n in range(2) for kind in ("json", "png")),
    }
    assert "2 visits" in answer.output
    assert "Without t1n, t2w" in answer.output
    again = run(*words)
    assert "2 of 2 visits done before, kept" in again.output
    assert "0 of 2 visits to encode" in run(*words, "--dry-run").output


def test_single_visit_shows_its_features(weights: Path, tmp_path: Path) -> None:
    folder = write_visit(tmp_path / "scans", "p1")
    answer = run(*sorted(folder.iterdir()), "-o", tmp_path / "out", "--checkpoint", weights)
    assert answer.exit_code == 0, answer.output
    assert "wt.log_volume" in answer.output
    assert "measured" in answer.output
    assert read_sidecar(tmp_path / "out" / "p1_latent.json")["measured"]["values"]


def test_one_bad_visit_does_not_stop_the_others(weights: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", 3, pulses=("t1c",))
    damaged, missing = (study.parent / f"p{n}-0-t1c.nii.gz" for n in (0, 1))
    damaged.write_bytes(damaged.read_bytes()[:300])
    missing.unlink()
    answer = run(study, "-o", tmp_path / "out", "--checkpoint", weights)
    assert answer.exit_code == 1
    assert "1 of 3 visits are done, 2 failed" in answer.output
    assert (tmp_path / "out" / "p2-0_latent.json").is_file()


def test_wrong_input_is_one_line(weights: Path, study: Path, tmp_path: Path) -> None:
    text = tmp_path / "model.pt"
    text.write_text("no weights")
    for words in (
        (tmp_path / "none", "--checkpoint", weights),
        (study, "--checkpoint", text),
        (study, "--checkpoint", "no_such_bundle"),
        (study, "--checkpoint", weights, "--device", "tpu"),
    ):
        answer = run(*words, "-o", tmp_path / "out")
        assert answer.exit_code == 2, answer.output
        assert answer.output.strip().startswith("error: ")
        assert len(answer.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
