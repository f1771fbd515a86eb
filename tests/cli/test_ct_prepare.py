import nibabel
import pytest
from typer.testing import CliRunner

from ct_scans import grid_around, sphere_hu
from revoxel.cli.main import app
from revoxel.ct.scans.study import load_study


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for index, name in enumerate("ab"):
        grid = grid_around((24, 24, 24), (2.0, 2.0, 2.0))
        affine = grid.affine.copy()
        affine[:3, 3] += 9 * index
        nibabel.save(nibabel.Nifti1Image(sphere_hu(grid), affine), folder / f"{name}.nii.gz")
    return folder


def run(*arguments: object):
    return CliRunner().invoke(app, ["ct", "prepare", *map(str, arguments)])


def test_folder_of_scans_becomes_a_study(scans, tmp_path):
    out = tmp_path / "set"
    options = ("--size", "16", "--spacing-mm", "3", "--patient-id", "a=p1", "--licence", "b=MIT")
    answer = run(scans, "-o", out, *options, "--weights-may-ship", "b")
    assert answer.exit_code == 0, answer.output
    study = load_study(out)
    assert [row.patient_id for row in study.rows] == ["p1", "b"]
    assert [row.weights_may_ship for row in study.rows] == [False, True]
    assert nibabel.load(study.resolve(study.rows[0].fine)).shape == (16, 16, 16)
    assert "without-p1" in answer.output
    assert (out / "study.png").is_file()


def test_dry_run_lists_scans_and_writes_nothing(scans, tmp_path):
    answer = run(scans, "-o", tmp_path / "set", "--dry-run")
    assert answer.exit_code == 0, answer.output
    assert "a.nii.gz" in answer.output
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", "big"), "--size must be a number of voxels or none"),
        (("--size", "250"), "divisible by the factor 4"),
        (("--spacing-mm", "-1"), "spacing_mm must be a positive length"),
        (("--patient-id", "p1"), "--patient-id must be NAME=VALUE"),
        (("--patient-id", "z=p1"), "must be about a, b"),
        (("--licence", "MIT", "--licence", "BSD"), "--licence without a name must come once"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(scans, tmp_path, options, words):
    answer = run(scans, "-o", tmp_path / "set", *options)
    assert answer.exit_code == 2
    assert words in " ".join(answer.output.split())
    assert "Traceback" not in answer.output
    assert not (tmp_path / "set").exists()
