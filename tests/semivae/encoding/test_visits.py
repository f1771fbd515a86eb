"""Visits are found in studies and by the names that people give."""

import json
from pathlib import Path

import pytest

from revoxel.core.pulses import Pulse
from revoxel.semivae.encoding.visits import find_visits


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
    return folder


def test_visits_of_a_study_know_patient_and_time(tmp_path):
    scan = {
        "scan_id": "p1-2019",
        "patient_id": "p1",
        "time_years": 1.5,
        "label": "p1/seg.nii.gz",
        "images": {"t1c": "p1/t1c.nii.gz"},
    }
    (tmp_path / "study.json").write_text(json.dumps({"schema": 1, "scans": [scan]}))
    for given in (tmp_path, tmp_path / "study.json"):
        (visit,) = find_visits([given])
        assert (visit.name, visit.patient_id, visit.time_years) == ("p1-2019", "p1", 1.5)
        assert visit.images == {Pulse.t1c: tmp_path / "p1" / "t1c.nii.gz"}
        assert visit.label == tmp_path / "p1" / "seg.nii.gz"


def test_files_of_a_folder_that_differ_in_the_pulse_are_one_visit(tmp_path):
    names = [f"BraTS-GLI-{n}-000-{pulse}.nii.gz" for n in "12" for pulse in Pulse]
    touched(tmp_path, *names, "BraTS-GLI-1-000-seg.nii.gz", "notes.txt", ".BraTS-GLI-3-000-t1c.nii.gz")
    first, second = find_visits([tmp_path])
    assert (first.name, second.name) == ("BraTS-GLI-1-000", "BraTS-GLI-2-000")
    assert set(first.images) == set(second.images) == set(Pulse)
    assert first.label == tmp_path / "BraTS-GLI-1-000-seg.nii.gz"
    assert second.label is None


def test_missing_pulses_and_a_label_of_another_name_are_taken_where_a_folder_is_one_visit(tmp_path):
    touched(tmp_path / "case", "t1c.nii.gz", "T2_FLAIR.nii.gz", "seg_final_1.nii.gz", "t1map.nii.gz")
    (visit,) = find_visits([tmp_path])
    assert visit.name == "case"
    assert set(visit.images) == {Pulse.t1c, Pulse.t2f}
    assert visit.label == tmp_path / "case" / "seg_final_1.nii.gz"


def test_named_images_are_a_visit(tmp_path):
    touched(tmp_path, "sub-1_ses-2_ce-gd_T1w.nii.gz", "sub-1_ses-2_FLAIR.nii.gz", "sub-1_ses-2_dseg.nii.gz")
    (visit,) = find_visits(sorted(tmp_path.iterdir()))
    assert visit.name == "sub-1_ses-2"
    assert set(visit.images) == {Pulse.t1c, Pulse.t2f}
    assert visit.label is not None


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ((), "none", "existing study, folder or image"),
        (("notes.txt",), ".", "must hold images whose names state a pulse"),
        (("scan.nii.gz",), "scan.nii.gz", "must state one pulse"),
        (("a_t1.nii.gz", "a_t1w.nii"), ".", "one image per pulse"),
        (("x/a_t1.nii.gz", "y/a_t1.nii.gz"), ".", "names of their own"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path, names, given, message):
    touched(tmp_path, *names)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_visits([tmp_path / given])


def test_a_study_is_given_alone(tmp_path):
    touched(tmp_path, "a.json", "b_t1.nii.gz")
    with pytest.raises(ValueError, match="must be given alone"):
        find_visits([tmp_path / "a.json", tmp_path / "b_t1.nii.gz"])
