"""`revoxel ct drr`: files that read back as the views of the CT."""

import json

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from revoxel.cli.main import app
from revoxel.ct.xray.geometry import View
from revoxel.ct.xray.view_files import ViewsUnit, views_beside
from revoxel.ct.xray.views import ViewOptions, load_views, settle_views

RUNNER = CliRunner()


@pytest.fixture
def ct(tmp_path):
    """Small anisotropic body in LPS order with padding."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 20, 12)), indexing="ij")
    hu = np.where((x / 0.9) ** 2 + (y / 0.6) ** 2 < 1, 40.0, -1000.0)
    hu[((x - 0.1) / 0.7) ** 2 + (y / 0.4) ** 2 + ((z - 0.4) / 0.9) ** 2 < 1] = -850.0
    hu[(x / 0.2) ** 2 + ((y + 0.45) / 0.2) ** 2 < 1] = 1200.0
    hu[x**2 + y**2 > 1.6] = -2048.0
    path = tmp_path / "chest.nii.gz"
    nibabel.save(nibabel.Nifti1Image(hu.astype(np.int16), np.diag([8.0, 10.0, 15.0, 1.0])), path)
    return path


def run(*words):
    return RUNNER.invoke(app, ["ct", "drr", *map(str, words), "--threads", "1", "--device", "cpu"])


@pytest.mark.parametrize(
    ("file_format", "unit"), [("tiff", "nepers"), ("nii.gz", "nepers"), ("png", "display")]
)
def test_views_read_back_and_belong_to_their_ct(ct, tmp_path, file_format, unit):
    out = tmp_path / "out"
    wanted = "tiff" if file_format == "png" else file_format
    answer = run(ct, "-o", out, "--size", 48, "--format", wanted)
    assert answer.exit_code == 0, answer.output
    paths = [out / f"chest_{name}_drr.{file_format}" for name in ("pa", "lat")]
    options = ViewOptions(ViewsUnit(unit), geometry=out / "chest_drr_geometry.json")
    views = load_views(*paths, options)
    assert not views.is_relative
    hu = np.asarray(nibabel.load(ct).dataobj, dtype=np.float32)
    import torch

    settled, found = settle_views(views, torch.from_numpy(hu)[None, None], (8.0, 10.0, 15.0))
    assert found["views_correlation"] > 0.999
    assert settled.shape == (1, 2, 1, 48, 48)


def test_record_says_what_was_made(ct, tmp_path):
    assert run(ct, "-o", tmp_path / "out", "--size", 16, "--geometry", "parallel").exit_code == 0
    record = json.loads((tmp_path / "out" / "chest_drr.json").read_text())
    assert record["parameters"]["geometry"]["kind"] == "parallel"
    assert record["parameters"]["geometry"]["pixel_mm"] == pytest.approx(200 / 16)
    assert set(record["max_nepers"]) == set(View)
    assert record["outside_share"] > 0
    assert "not for diagnosis" in record["notice"]


def test_results_are_kept_unless_overwritten(ct, tmp_path):
    assert run(ct, "-o", tmp_path, "--size", 8).exit_code == 0
    again = run(ct, "-o", tmp_path, "--size", 8)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert run(ct, "-o", tmp_path, "--size", 8, "--overwrite").exit_code == 0
    assert views_beside(ct)[0].name == "chest_pa_drr.tiff"


def test_dry_run_writes_nothing(ct, tmp_path):
    answer = run(ct, "-o", tmp_path / "out", "--dry-run")
    assert answer.exit_code == 0
    assert "chest_lat_drr.png" in answer.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.nii.gz"], "got nothing there"),
        (["CT", "--source-to-isocentre-mm", "20"], "half the volume"),
        (["CT", "--source-to-detector-mm", "20"], "swap them"),
    ],
)
def test_errors_are_one_line(ct, tmp_path, words, message):
    answer = run(*[ct if word == "CT" else word for word in words], "-o", tmp_path / "out")
    assert answer.exit_code == 2
    assert message in " ".join(answer.output.split())
    assert "Traceback" not in answer.output
