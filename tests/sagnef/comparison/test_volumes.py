"""Volumes of a case: on one grid, the truth where it is known, repairs reported."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import tiny_study
from revoxel.core.manifest import Case, Manifest, load_manifest
from revoxel.sagnef.comparison.volumes import expert_order, read_case, read_tumour


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return load_manifest(tiny_study.write_study(tmp_path))


def moved(manifest: Manifest, case: Case, shift_voxels: float, *, cut: int = 0) -> Path:
    """Write the truth of a case again, beginning elsewhere along x."""
    path = manifest.resolve(case.hr)
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += shift_voxels
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[cut:], affine), path)
    return path


def test_truth_is_compared_where_it_is_known(manifest: Manifest) -> None:
    volumes = read_case(manifest, manifest.cases[0])  # slices along x reach 3 voxels beyond the truth
    assert volumes.grid.shape == (35, 32, 32)
    assert volumes.truth.shape == (32, 32, 32)
    assert all(volume.shape == (32, 32, 32) for volume in volumes.cut_experts().values())
    assert volumes.notes == ()
    assert volumes.margin == 5


def test_truth_may_begin_at_another_voxel(manifest: Manifest) -> None:
    case = manifest.cases[0]
    whole = read_case(manifest, case)
    moved(manifest, case, 4, cut=4)
    part = read_case(manifest, case)
    np.testing.assert_array_equal(part.truth, whole.truth[4:])
    for expert, volume in part.cut_experts().items():
        np.testing.assert_array_equal(volume, whole.cut_experts()[expert][4:])


def test_truth_between_the_voxels_is_resampled_and_reported(manifest: Manifest) -> None:
    case = manifest.cases[1]
    before = read_case(manifest, case)
    moved(manifest, case, 0.4)
    after = read_case(manifest, case)
    (note,) = after.notes
    assert "0.40 voxels" in note
    assert after.truth.shape == (32, 32, 32)
    assert 0.1 < np.abs(after.truth - before.truth).mean() < 20


def test_truth_of_another_scan_is_refused(manifest: Manifest) -> None:
    case = manifest.cases[1]
    path = manifest.resolve(case.hr)
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([1.5, 1, 1, 1])), path)
    with pytest.raises(ValueError, match=r"p1.nii.gz must lie within 3 voxels"):
        read_case(manifest, case)


def test_truth_beside_the_experts_is_refused(manifest: Manifest) -> None:
    moved(manifest, manifest.cases[1], 100)
    with pytest.raises(ValueError, match="must overlap"):
        read_case(manifest, manifest.cases[1])


def test_missing_expert_is_named(manifest: Manifest) -> None:
    manifest.resolve(manifest.cases[2].experts["SMORE"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"cases.2.experts.SMORE"):
        read_case(manifest, manifest.cases[2])


def test_labels_on_another_grid_land_on_the_truth(manifest: Manifest, tmp_path: Path) -> None:
    labels = np.zeros((16, 16, 16), dtype=np.float32)
    labels[5:9, 5:9, 5:9] = 4
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 0.5
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "seg.nii.gz")
    tumour = read_tumour(tmp_path / "seg.nii.gz", read_case(manifest, manifest.cases[1]))
    expected = np.zeros((32, 32, 32), dtype=bool)
    expected[10:18, 10:18, 10:18] = True
    assert (tumour != expected).mean() < 0.005


def test_unknown_experts_are_refused() -> None:
    with pytest.raises(ValueError, match="must be some of BSPLINE"):
        expert_order(["BSPLINE", "WAVELET"])
