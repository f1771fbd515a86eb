"""Scans are found, named, and never counted as two patients when they are one."""

import nibabel
import pytest

from ct_scans import grid_around, sphere_hu
from revoxel.ct.scans.sources import Statements, check_apart, describe_sources, find_scans
from revoxel.ct.scans.study import CtRow

NOTHING = Statements({}, {})


def scan(path, shift_mm=0.0, change_hu=0.0):
    grid = grid_around((16, 16, 16))
    affine = grid.affine.copy()
    affine[:3, 3] += shift_mm
    nibabel.save(nibabel.Nifti1Image(sphere_hu(grid) + change_hu, affine), path)
    return path


def test_folder_gives_its_volumes_and_series(tmp_path, dicom_folder):
    for name in ("b.nii.gz", "a.nii.gz"):
        scan(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "series").symlink_to(dicom_folder)
    assert [path.name for path in find_scans([tmp_path])] == ["a.nii.gz", "b.nii.gz", "series"]
    assert find_scans([tmp_path / "series"]) == [tmp_path / "series"]


def test_folder_without_a_scan_and_missing_path_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold CT volumes or a DICOM series"):
        find_scans([tmp_path])
    with pytest.raises(FileNotFoundError, match="nowhere must be an existing"):
        find_scans([tmp_path / "nowhere"])


def test_statements_are_taken_by_name_and_nothing_is_assumed(tmp_path):
    paths = [scan(tmp_path / f"{name}.nii.gz", shift) for name, shift in (("a", 0.0), ("b", 5.0))]
    said = Statements({"a": "p1"}, {"a": "CC BY 4.0", "": "MIT"}, ["a"])
    first, second = describe_sources(paths, said)
    assert (first.patient_id, first.licence, first.weights_may_ship) == ("p1", "CC BY 4.0", True)
    assert (second.patient_id, second.licence, second.weights_may_ship) == ("b", "MIT", False)
    assert describe_sources(paths, NOTHING)[0].licence == "not stated"


def test_same_bytes_twice_are_refused(tmp_path):
    paths = [scan(tmp_path / "a.nii.gz")]
    (tmp_path / "b.nii.gz").write_bytes(paths[0].read_bytes())
    stated = Statements({"a": "p1", "b": "p2"}, {})
    with pytest.raises(ValueError, match=r"b.nii.gz must differ from .*a.nii.gz, got the same bytes"):
        describe_sources([*paths, tmp_path / "b.nii.gz"], stated)


def test_same_origin_and_grid_need_a_stated_patient(tmp_path):
    """Two crops of one scan, or two simulated patients: only the user knows."""
    paths = [scan(tmp_path / "a.nii.gz"), scan(tmp_path / "b.nii.gz", change_hu=1.0)]
    with pytest.raises(ValueError, match=r"a and b must be of known patients.*--patient-id NAME=PATIENT"):
        describe_sources(paths, NOTHING)
    for patients in ({"a": "p", "b": "p"}, {"a": "p", "b": "q"}):
        sources = describe_sources(paths, Statements(patients, {}))
        assert [source.patient_id for source in sources] == list(patients.values())


def test_scan_at_the_place_of_another_patients_in_the_study_needs_a_stated_patient(tmp_path):
    first, second = (scan(tmp_path / f"{name}.nii.gz", change_hu=hu) for name, hu in (("a", 0.0), ("b", 1.0)))
    (known,) = describe_sources([first], NOTHING)
    row = CtRow(
        name="a",
        patient_id="a",
        fine="fine/a.nii.gz",
        coarse="coarse/a.nii.gz",
        spacing_mm=1.5,
        source_origin_mm=known.origin_mm,
        source_spacing_mm=known.spacing_mm,
    )
    with pytest.raises(ValueError, match="a and b must be of known patients"):
        check_apart(describe_sources([second], NOTHING), [row])
    check_apart(describe_sources([second], Statements({"b": "a"}, {})), [row])


def test_repeated_names_and_statements_about_nobody_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    paths = [scan(tmp_path / "a.nii.gz"), scan(tmp_path / "other" / "a.nii", 5.0)]
    with pytest.raises(ValueError, match="got a more than once; rename"):
        describe_sources(paths, NOTHING)
    with pytest.raises(ValueError, match="must be about a, got z"):
        describe_sources(paths[:1], Statements({"z": "p1"}, {}))
