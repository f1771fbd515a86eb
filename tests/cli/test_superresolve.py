"""`revoxel superresolve`: dry run, result, summary."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from quick_experts import write_thick_scan
from revoxel.cli.main import app
from revoxel.experts.bspline import bspline
from revoxel.experts.learned import LearnedResult


@pytest.fixture
def scan(brain, brain_affine, tmp_path) -> Path:
    return write_thick_scan(tmp_path / "sub-01_T2w.nii.gz", brain, brain_affine)


@pytest.fixture
def no_training(monkeypatch) -> None:
    """The learned experts answer with B-splines; all else is real."""
    monkeypatch.setattr(
        "revoxel.experts.run.super_resolve_learned",
        lambda problem, *args, **options: LearnedResult(bspline(problem), 0.0),
    )


def _run(*arguments: object):
    return CliRunner().invoke(app, ["superresolve", *map(str, arguments)], env={"COLUMNS": "160"})


def test_scan_in_volume_out(scan, tmp_path, no_training) -> None:
    result = _run(scan, "-o", tmp_path / "out", "--profile", "gauss:4", "--fusion", "simplex", "--cold")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "sub-01_T2w_sagnef.nii.gz").is_file()
    assert (tmp_path / "out" / "sub-01_T2w_SR-SMORE.nii.gz").is_file()
    for text in (
        "t2w",
        "4 mm apart along axis 2",
        "40 x 44 x 32",
        "(stated)",
        "UNIRES",
        "sub-01_T2w_sagnef.png",
    ):
        assert text in result.output


def test_experts_need_not_be_kept(scan, tmp_path, no_training) -> None:
    result = _run(
        scan, "-o", tmp_path / "out", "--no-keep-experts", "--fusion", "mean", "--no-consistency", "--cold"
    )
    assert result.exit_code == 0, result.output
    assert not list((tmp_path / "out").glob("*SR-*"))
    assert "consistency" in result.output


def test_dry_run_writes_nothing(scan, tmp_path) -> None:
    result = _run(scan, "-o", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "nothing is written" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--profile", "box:5"], "gauss:FWHM"),
        (["--voxel-mm", "big"], "voxel size must be"),
        (["--with", "t2w"], "PULSE=FILE"),
        (["--with", "dwi=a.nii"], "PULSE=FILE"),
        (["--with", "t1c=none.nii.gz"], "none.nii.gz"),
        (["--device", "tpu"], "device must be"),
        (["--pulse", "dwi"], "t1c"),
    ],
)
def test_wrong_options_are_explained(scan, tmp_path, options, reason) -> None:
    result = _run(scan, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not list(tmp_path.glob("out/*.nii.gz"))


def test_python_interface_is_the_same_job() -> None:
    from revoxel.sagnef import superresolve as first
    from revoxel.sagnef import superresolve as second

    assert callable(first)
    assert first is second
