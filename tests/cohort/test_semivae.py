"""Visits of a study: results as of one visit, a table of all, failures listed, what is done stays done."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from revoxel.cli.main import app
from revoxel.cohort.semivae import SemivaeCohort, semivae_work
from revoxel.cohort.workload import Workload
from revoxel.core.provenance import read_sidecar
from revoxel.semivae.encoding.planning import EncodeSettings
from tiny_semivae import tiny_checkpoint
from tumour_visits import write_study


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two visits, one of them cut off."""
    path = write_study(tmp_path_factory.mktemp("study"), 2, pulses=("t1c",))
    cut = path.parent / "p1-0-t1c.nii.gz"
    cut.write_bytes(cut.read_bytes()[:300])
    return path


def work(study: Path, weights: Path, out: Path) -> Workload:
    return semivae_work(
        SemivaeCohort(source=study, out=out, settings=EncodeSettings(weights), device="cpu", threads=1)
    )


def test_every_visit_is_a_piece_and_the_table_sums_up_those_that_worked(
    study: Path, weights: Path, tmp_path: Path
) -> None:
    planned = work(study, weights, tmp_path)
    assert [piece.labels for piece in planned.pieces] == [
        {"patient": "p0", "scan": "p0-0"},
        {"patient": "p1", "scan": "p1-0"},
    ]
    whole, damaged = (piece.job for piece in planned.pieces)
    whole.function(*whole.arguments)
    with pytest.raises(ValueError, match="readable image"):
        damaged.function(*damaged.arguments)
    planned.finish(None)  # type: ignore[arg-type]
    assert read_sidecar(tmp_path / "p0-0" / "p0-0_latent.json")["patient_id"] == "p0"
    assert not (tmp_path / "p1-0").exists()
    assert len((tmp_path / "latents.csv").read_text().splitlines()) == 2
    assert [bool(piece.why) for piece in work(study, weights, tmp_path).pieces] == [False, True]


def test_missing_image_is_a_problem_of_its_visit(study: Path, weights: Path, tmp_path: Path) -> None:
    lone = write_study(tmp_path / "study", 1, pulses=("t1c",))
    (lone.parent / "p0-0-t1c.nii.gz").unlink()
    (piece,) = work(lone, weights, tmp_path / "out").pieces
    assert "must be an existing file" in piece.problem


def test_dry_run_of_the_verb_lists_what_would_be_done(study: Path, weights: Path, tmp_path: Path) -> None:
    words = ["cohort", "semivae", str(study), "-o", str(tmp_path / "out"), "--checkpoint", str(weights)]
    answer = CliRunner().invoke(app, [*words, "--dry-run"])
    assert answer.exit_code == 0, answer.output
    assert "2 of 2 tasks to do" in answer.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_verb_runs_in_workers_and_says_what_failed(study: Path, weights: Path, tmp_path: Path) -> None:
    words = ["cohort", "semivae", str(study), "-o", str(tmp_path), "--checkpoint", str(weights)]
    answer = CliRunner().invoke(app, [*words, "--jobs", "1", "--device", "cpu"])
    assert answer.exit_code == 1, answer.output
    assert "p1-0" in (tmp_path / "failures.csv").read_text()
    assert (tmp_path / "latents.csv").is_file()
