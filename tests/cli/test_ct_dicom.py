import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from ct_scans import grid_around, sphere_hu
from revoxel.cli.main import app
from revoxel.core.volumes import read_volume


@pytest.fixture
def volume(tmp_path):
    grid = grid_around((16, 18, 12))
    path = tmp_path / "chest_refined.nii.gz"
    nibabel.save(nibabel.Nifti1Image(sphere_hu(grid), grid.affine), path)
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, ["ct", "dicom", *map(str, arguments)])


def test_volume_becomes_a_series_in_the_same_place(volume, tmp_path):
    answer = run(volume, "-o", tmp_path / "series")
    assert answer.exit_code == 0, answer.output
    back = read_volume(tmp_path / "series")
    np.testing.assert_allclose(back.data, sphere_hu(back.grid), atol=1)


def test_series_can_be_the_source_of_another(volume, tmp_path):
    assert run(volume, "-o", tmp_path / "first").exit_code == 0
    assert run(volume, "-o", tmp_path / "second", "--source", tmp_path / "first").exit_code == 0
    assert len(list((tmp_path / "second").iterdir())) == 12


def test_dry_run_writes_nothing_but_checks(volume, tmp_path):
    assert run(volume, "-o", tmp_path / "series", "--dry-run").exit_code == 0
    assert not (tmp_path / "series").exists()
    answer = run(volume, "-o", tmp_path / "series", "--source", tmp_path / "nowhere", "--dry-run")
    assert answer.exit_code == 2
    assert "must be the folder of a DICOM series" in " ".join(answer.output.split())


def test_folder_that_holds_something_is_one_line_and_exit_code_2(volume, tmp_path):
    answer = run(volume, "-o", tmp_path)
    assert answer.exit_code == 2
    assert "must be a new or empty folder" in " ".join(answer.output.split())
