"""A study holds what its files hold, goes on after a stop, and loses nothing."""

import nibabel
import numpy as np
import pytest

from ct_scans import grid_around, sphere_hu
from revoxel.core.geometry import Grid, offset_voxels
from revoxel.ct.scans.grids import upscaled
from revoxel.ct.scans.prepare import PrepareRecipe, prepare_study
from revoxel.ct.scans.sources import Statements, describe_sources
from revoxel.ct.scans.study import load_study

RECIPE = PrepareRecipe(spacing_mm=3.0)


def scan(folder, name, shift_mm):
    grid = grid_around((30, 32, 20), (2.0, 2.0, 4.0))
    affine = grid.affine.copy()
    affine[:3, 3] += shift_mm
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(sphere_hu(grid), affine), path)
    return path


@pytest.fixture
def sources(tmp_path):
    paths = [scan(tmp_path, name, shift) for name, shift in (("a", 0.0), ("b", 7.0))]
    return describe_sources(paths, Statements({"b": "p2"}, {"": "MIT"}, ["b"]))


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}


def test_coarse_file_is_the_block_mean_of_the_fine_file_on_matching_grids(sources, tmp_path):
    study = prepare_study(sources, RECIPE, tmp_path / "set")
    assert load_study(tmp_path / "set") == study
    for row in study.rows:
        fine, coarse = (nibabel.load(study.resolve(path)) for path in (row.fine, row.coarse))
        assert fine.get_data_dtype() == coarse.get_data_dtype() == np.int16
        hu = np.asarray(fine.dataobj, dtype=float)
        x, y, z = coarse.shape
        means = hu.reshape(x, 4, y, 4, z, 4).mean(axis=(1, 3, 5))
        assert np.abs(means - np.asarray(coarse.dataobj)).max() <= 0.5
        grids = Grid(fine.shape, fine.affine), upscaled(Grid(coarse.shape, coarse.affine), 4)
        assert offset_voxels(*grids) < 1e-4
    assert (tmp_path / "set" / "study.png").stat().st_size > 1000


def test_rows_carry_patient_terms_and_native_spacing(sources, tmp_path):
    first, second = prepare_study(sources, RECIPE, tmp_path / "set").rows
    assert (first.patient_id, first.licence, first.weights_may_ship) == ("a", "MIT", False)
    assert (second.patient_id, second.weights_may_ship) == ("p2", True)
    assert first.source_spacing_mm == pytest.approx((2.0, 2.0, 4.0))
    assert first.is_interpolated
    assert prepare_study(sources, RECIPE, tmp_path / "set").changed_files() == []


def test_stopped_run_goes_on_and_finished_scans_are_kept(sources, tmp_path):
    out = tmp_path / "set"
    prepare_study(sources[:1], RECIPE, out)
    before = times(out)
    (out / "fine" / "b.nii.gz").write_bytes(b"left by a killed run")
    study = prepare_study(sources, RECIPE, out)
    assert [row.name for row in study.rows] == ["a", "b"]
    assert [fold.name for fold in study.folds] == ["without-a", "without-p2"]
    assert before.items() <= times(out).items()
    assert study.changed_files() == []


def test_scan_that_changed_is_not_replaced_unless_told(sources, tmp_path):
    out = tmp_path / "set"
    prepare_study(sources, RECIPE, out)
    scan(tmp_path, "a", 1.0)
    changed = describe_sources([source.path for source in sources], Statements({"b": "p2"}, {}))
    before = times(out)
    with pytest.raises(FileExistsError, match=r"a\.nii\.gz must not exist yet; pass --overwrite"):
        prepare_study(changed, RECIPE, out)
    assert times(out) == before
    assert prepare_study(changed, RECIPE, out, overwrite=True).changed_files() == []


def test_another_recipe_needs_another_folder(sources, tmp_path):
    prepare_study(sources[:1], RECIPE, tmp_path / "set")
    with pytest.raises(ValueError, match="must be of one recipe"):
        prepare_study(sources, PrepareRecipe(spacing_mm=3.0, mode="blur"), tmp_path / "set")


def test_unusable_scan_stops_with_its_name_and_leaves_the_others_listed(sources, tmp_path):
    grid = grid_around((30, 32, 20), (2.0, 2.0, 4.0))
    nibabel.save(nibabel.Nifti1Image(sphere_hu(grid) + 1024, grid.affine + np.eye(4)), sources[1].path)
    with pytest.raises(ValueError, match=r"fine .*b\.nii\.gz.* stored values"):
        prepare_study(sources, RECIPE, tmp_path / "set")
    assert [row.name for row in load_study(tmp_path / "set").rows] == ["a"]


def test_corrupted_study_repeats_with_its_seed(sources, tmp_path):
    recipe = PrepareRecipe(spacing_mm=3.0, mode="corrupt", seed=4)
    first, again = (prepare_study(sources, recipe, tmp_path / name) for name in ("one", "two"))
    assert [row.sha256 for row in first.rows] == [row.sha256 for row in again.rows]
