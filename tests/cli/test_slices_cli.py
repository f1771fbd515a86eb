"""The verbs around slices: simulate, axis-check, estimate-profile, experts."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from revoxel.cli.main import app

runner = CliRunner()


def call(*arguments: object):
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def thick_file(brain_file, tmp_path) -> Path:
    path = tmp_path / "thick_t1n.nii.gz"
    result = call("simulate", brain_file, "-o", path, "--profile", "gauss:3", "--axis", "2")
    assert result.exit_code == 0, result.output
    return path


def test_simulate_writes_slices_and_their_record(thick_file) -> None:
    image = nibabel.load(thick_file)
    assert image.shape == (40, 44, 12)
    assert image.header.get_zooms()[2] == pytest.approx(3.0)
    record = json.loads(thick_file.with_name("thick_t1n.json").read_text())
    assert record["profile"] == "gauss:3"
    assert record["separation_mm"] == 3


def test_simulate_keeps_what_exists(thick_file, brain_file) -> None:
    before = thick_file.read_bytes()
    result = call("simulate", brain_file, "-o", thick_file)
    assert result.exit_code == 2
    assert "--overwrite" in result.output
    assert thick_file.read_bytes() == before
    assert call("simulate", brain_file, "-o", thick_file, "--overwrite").exit_code == 0


def test_simulate_dry_run_writes_nothing(brain_file, tmp_path) -> None:
    result = call("simulate", brain_file, "-o", tmp_path / "none.nii.gz", "--dry-run")
    assert result.exit_code == 0
    assert not (tmp_path / "none.nii.gz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "box:5"), "slice profile must be"),
        (("--separation-mm", "0.2"), "at least the voxel size"),
        (("--profile", "missing.npy"), "missing.npy"),
    ],
)
def test_simulate_explains_bad_settings_in_one_line(arguments, message, brain_file, tmp_path) -> None:
    result = call("simulate", brain_file, "-o", tmp_path / "out.nii.gz", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out.nii.gz").exists()


def test_axis_check_judges_every_file(thick_file, brain_file, tmp_path) -> None:
    result = call("axis-check", thick_file, brain_file, "--json", tmp_path / "axes.json")
    assert result.exit_code == 0
    assert "warning" in result.output
    assert "truly high-resolution" in " ".join(result.output.split())
    volumes = json.loads((tmp_path / "axes.json").read_text())["volumes"]
    assert volumes[str(thick_file)]["detail"][2] == "thick"


def test_axis_check_names_a_missing_file(tmp_path) -> None:
    result = call("axis-check", tmp_path / "nothing.nii.gz")
    assert result.exit_code == 2
    assert "nothing.nii.gz" in result.output


def test_estimate_profile_says_what_to_use(thick_file, tmp_path) -> None:
    result = call("estimate-profile", thick_file, "--json", tmp_path / "profile.json")
    assert result.exit_code == 0
    assert "--profile gauss:" in result.output
    record = json.loads((tmp_path / "profile.json").read_text())
    assert 0 <= record["confidence"] <= 1
    assert record["interval_mm"][0] < record["std_mm"] < record["interval_mm"][1]


def test_estimate_profile_of_an_isotropic_volume_is_nothing_to_do(brain_file) -> None:
    result = call("estimate-profile", brain_file)
    assert result.exit_code == 2
    assert "nothing to do" in result.output


def test_experts_writes_one_volume_and_record_each_and_resumes(thick_file, tmp_path) -> None:
    out = tmp_path / "experts"
    arguments = ("experts", thick_file, "-o", out, "--experts", "UNIRES,BSPLINE", "--profile", "gauss:3")
    first = call(*arguments)
    assert first.exit_code == 0, first.output
    volumes = [nibabel.load(out / f"thick_t1n_SR-{name}.nii.gz") for name in ("BSPLINE", "UNIRES")]
    assert {volume.shape for volume in volumes} == {(40, 44, 36)}
    np.testing.assert_allclose(volumes[0].affine, volumes[1].affine)
    assert json.loads((out / "thick_t1n_SR-UNIRES.json").read_text())["profile"] == "gauss:3"
    written = (out / "thick_t1n_SR-UNIRES.nii.gz").stat().st_mtime_ns
    assert call(*arguments).exit_code == 0
    assert (out / "thick_t1n_SR-UNIRES.nii.gz").stat().st_mtime_ns == written
    other = call(*arguments[:-1], "gauss:4")
    assert other.exit_code == 2
    assert "--overwrite" in other.output


def test_experts_dry_run_writes_nothing(thick_file, tmp_path) -> None:
    result = call("experts", thick_file, "-o", tmp_path / "experts", "--dry-run")
    assert result.exit_code == 0
    assert "to be estimated" in result.output
    assert not (tmp_path / "experts").exists()


def test_experts_refuses_an_unknown_name(thick_file, tmp_path) -> None:
    result = call("experts", thick_file, "-o", tmp_path, "--experts", "BSPLINE,MAGIC")
    assert result.exit_code == 2
    assert "MAGIC" in result.output


def test_experts_help_warns_of_the_namesake() -> None:
    assert "another" in call("experts", "--help").output
