"""BIDS and BraTS folders become rows: thick scans by header, truths only where results will lie."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from revoxel.cohort.find import Findings, find_bids, find_brats
from revoxel.sagnef.study.rows import Row

THICK, FINE = (1.0, 1.0, 4.0), (1.0, 1.0, 1.0)


def write(path: Path, sizes_mm: tuple[float, ...] = THICK, *, shift_mm: float = 0.0) -> Path:
    """A volume of 24 mm; a fine one begins half a thick slice earlier, as the same slab does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*sizes_mm, 1.0])
    affine[2, 3] = shift_mm + sizes_mm[2] / 2
    shape = tuple(round(24 / size) for size in sizes_mm)
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def dataset(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    description = {"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


def by_subject(found: Findings) -> dict[tuple[str, str], Row]:
    return {(row.subject, row.fields["pulse"]): row for row in found.rows}


def test_entities_become_patient_session_pulse_and_condition(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    for name in ("T1w", "ce-gadolinium_T1w", "T2w", "acq-ax_run-2_FLAIR"):
        write(root / f"sub-01/ses-b/anat/sub-01_ses-b_{name}.nii.gz")
    write(root / "sub-02/anat/sub-02_ce-Gd_T1w.nii.gz")
    write(root / "sub-02/func/sub-02_task-rest_bold.nii.gz")
    write(root / "derivatives/x/sub-03/anat/sub-03_T1w.nii.gz")
    rows = by_subject(find_bids(root))
    assert set(rows) == {
        ("sub-01_ses-b", "t1n"),
        ("sub-01_ses-b", "t1c"),
        ("sub-01_ses-b", "t2w"),
        ("sub-01_ses-b_acq-ax_run-2", "t2f"),
        ("sub-02", "t1c"),
    }
    flair = rows["sub-01_ses-b_acq-ax_run-2", "t2f"]
    assert (flair.fields["patient"], flair.fields["timepoint"]) == ("01", "b")
    assert flair.condition == "acq-ax_run-2"


def test_fine_volume_is_a_truth_only_where_the_results_will_lie(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    for number, shift_mm in enumerate((0.0, 0.3)):
        folder = root / f"sub-{number}" / "anat"
        write(folder / f"sub-{number}_acq-thick_T1w.nii.gz")
        write(folder / f"sub-{number}_T1w.nii.gz", FINE, shift_mm=shift_mm)
    found = find_bids(root)
    truths = {row.fields["patient"]: row.hr for row in found.rows}
    assert truths == {"0": root / "sub-0/anat/sub-0_T1w.nii.gz", "1": None}
    assert found.notes == [
        "sub-1_T1w.nii.gz: voxels of 1 x 1 x 1 mm: no thick scan, and no truth on the grid of one"
    ]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    write(root / "sub-1/anat/sub-1_T1w.nii.gz")
    write(root / "sub-2/anat/sub-2_ce-feraheme_T1w.nii.gz")
    write(root / "sub-3/anat/sub-3_T2w.nii.gz", (1.0, 1.0, 12.0))
    broken = root / "sub-4/anat/sub-4_T1w.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no image")
    (root / "T1w.json").write_text(json.dumps({"SpacingBetweenSlices": 6.0, "SliceThickness": 3.0}))
    found = find_bids(root)
    notes = "\n".join(found.notes)
    assert "sub-2_ce-feraheme_T1w.nii.gz: no pulse of ours" in notes
    assert "sub-3_T2w.nii.gz: voxels of 1 x 1 x 12 mm" in notes
    assert "sub-1_T1w.nii.gz: sidecars state 6 mm between slices, the header 4 mm" in notes
    assert "slices of 3 mm lie 4 mm apart: a gap" in notes
    (damaged,) = [row for row in found.rows if row.problems]
    assert damaged.subject == "sub-4"


def test_folder_without_thick_scans_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="dataset_description"):
        find_bids(tmp_path)
    with pytest.raises(FileNotFoundError, match="--brats"):
        find_brats(tmp_path / "none")
    write(tmp_path / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1c.nii.gz", FINE)
    with pytest.raises(ValueError, match="revoxel simulate"):
        find_brats(tmp_path)


def test_brats_names_become_rows(tmp_path: Path) -> None:
    for visit in ("000", "001"):
        for pulse in ("t1c", "t2f"):
            name = f"BraTS-GLI-00001-{visit}"
            write(tmp_path / name / f"{name}-{pulse}.nii.gz")
    write(tmp_path / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-seg.nii.gz", FINE)
    found = find_brats(tmp_path)
    assert len(found.rows) == 4
    assert {row.fields["patient"] for row in found.rows} == {"00001"}
    assert {row.fields["timepoint"] for row in found.rows} == {"000", "001"}
