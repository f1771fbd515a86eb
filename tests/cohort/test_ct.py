"""CTs of a folder or study: results as of one scan, failures listed, what is done stays done."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import ct_studies
from revoxel.cli.main import app
from revoxel.cohort.ct import CtCohort, ct_work
from revoxel.cohort.workload import Workload
from revoxel.core.provenance import read_sidecar
from revoxel.ct.refinement.methods import Method, MethodChoice
from revoxel.ct.refinement.planning import RefineSettings

SETTINGS = RefineSettings(MethodChoice(Method.PROJECTION))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ct_studies.write_study(tmp_path_factory.mktemp("set"), ("p1",))


@pytest.fixture(scope="module")
def folder(study: Path) -> Path:
    """Folder of one scan and one that is cut off."""
    coarse = study.parent / "coarse"
    whole = (coarse / "p1.nii.gz").read_bytes()
    (coarse / "p2.nii.gz").write_bytes(whole[:500])
    return coarse


def work(source: Path, out: Path) -> Workload:
    return ct_work(CtCohort(source=source, out=out, settings=SETTINGS, threads=1))


def test_every_coarse_volume_of_a_study_is_refined_and_compared(study: Path, tmp_path: Path) -> None:
    planned = work(study, tmp_path)
    assert [piece.name for piece in planned.pieces] == ["p1"]
    job = planned.pieces[0].job
    job.function(*job.arguments)
    record = read_sidecar(tmp_path / "p1" / "p1_ct.json")
    assert record["truth"]["scores"]["consistency_max_hu"] <= 0.5
    assert (tmp_path / "p1" / "p1_refined.nii.gz").is_file()
    assert [piece.why for piece in work(study, tmp_path).pieces] == [""]


def test_a_damaged_scan_fails_alone(folder: Path, tmp_path: Path) -> None:
    planned = work(folder, tmp_path)
    assert {piece.name for piece in planned.pieces} == {"p1", "p2"}
    damaged = next(piece for piece in planned.pieces if piece.name == "p2")
    with pytest.raises(ValueError, match=r"p2\.nii\.gz must be a readable image"):
        damaged.job.function(*damaged.job.arguments)
    assert not (tmp_path / "p2").exists()


def test_dry_run_of_the_verb_lists_what_would_be_done(folder: Path, tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["cohort", "ct", str(folder), "-o", str(tmp_path / "out"), "--dry-run"])
    assert answer.exit_code == 0, answer.output
    assert "2 of 2 tasks to do" in answer.output
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold CT volumes"):
        work(tmp_path, tmp_path / "out")
