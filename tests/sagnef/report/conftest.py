"""A cohort's output, written once; a copy for tests that damage it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from report_folder import write_cohort
from revoxel.sagnef.report.build import ReportRequest, write_report
from revoxel.sagnef.report.material import Material, read_material
from revoxel.sagnef.report.runs import Run, find_runs


@pytest.fixture(scope="session")
def cohort(brain, brain_affine, tmp_path_factory) -> Path:
    """Treat as read-only."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), brain, brain_affine)


@pytest.fixture(scope="session")
def run(cohort) -> Run:
    return find_runs(cohort).runs[0]


@pytest.fixture(scope="session")
def material(run) -> Material:
    return read_material(run)


@pytest.fixture(scope="session")
def page(cohort, tmp_path_factory) -> Path:
    """The report on the cohort."""
    return write_report(ReportRequest(cohort, tmp_path_factory.mktemp("page") / "report.html")).path


@pytest.fixture
def copied(cohort, tmp_path) -> Path:
    """The cohort again, moved: records and `cohort.json` name places where the files no longer are."""
    moved = Path(shutil.copytree(cohort, tmp_path / "moved"))
    for path in (cohort.parent / "data").iterdir():
        if "hr" not in path.name:
            shutil.copy(path, moved / f"{path.name.partition('_')[0]}_5mm_t1c")
    return moved
