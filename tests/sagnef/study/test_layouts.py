"""Templates find files, read their fields, and leave alone what is no scan."""

import pytest

from revoxel.core.pulses import Pulse
from revoxel.experts.names import Expert
from revoxel.sagnef.study.layouts import (
    LAYOUTS,
    beside,
    check_templates,
    indexed,
    layout_of,
    lookup,
    patient_of,
    scan,
)

PLAIN = layout_of("plain")


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("5mm/BraTS-GLI-00001-000-t1c.nii.gz", ("BraTS-GLI-00001-000", "t1c", "5mm", None)),
        ("BraTS-GLI-1-0/3mm/BraTS-GLI-1-0-t2w.nii", ("BraTS-GLI-1-0", "t2w", "3mm", None)),
        ("scans/p1_T1POST_7mm.nrrd", ("p1", "t1c", "7mm", None)),
        ("p1_T2_FLAIR_5mm.nii.gz", ("p1", "t2f", "5mm", None)),
        ("5mm/sub-01_ses-02_ce-gadolinium_T1w.nii.gz", ("sub-01_ses-02", "t1c", "5mm", None)),
        ("5mm/p1-flair_axis2_right.mha", ("p1", "t2f", "5mm", "axis2_right")),
        ("demo-001-t1n_LR.nii.gz", ("demo-001", "t1n", None, None)),
        ("5mm/t1_cohort_7-t1.nii.gz", ("t1_cohort_7", "t1n", "5mm", None)),
    ],
)
def test_a_scans_path_says_who_and_what(tmp_path, name, fields):
    touch(tmp_path, name)
    (found,) = scan(tmp_path, PLAIN.lr)
    assert found.path == tmp_path / name
    assert tuple(found.fields.get(key) for key in ("subject", "pulse", "spacing", "condition")) == fields


@pytest.mark.parametrize(
    "name",
    [
        "5mm/p1-t1c_SR-SMORE.nii.gz",
        "5mm/p1-t1c_sagnef.nii.gz",
        "5mm/p1-t1c_seg.nii.gz",
        "5mm/p1-t1c_lesions.nii.gz",
        "5mm/output_volumes/p1-t1c.nii.gz",
        "5mm/.p1-t1c.nii.gz",
        "5mm/p1-t1c.json",
        "5mm/p1-post.nii.gz",
        "4mm/p1-t1c.nii.gz",
        "p1-t1c.nii.gz",
    ],
)
def test_what_is_no_scan_is_left_alone(tmp_path, name):
    touch(tmp_path, name)
    assert scan(tmp_path, PLAIN.lr) == []


def test_a_template_names_any_layout(tmp_path):
    touch(tmp_path, "thick/5mm/ab/v2/FLAIR.nii.gz", "thick/5mm/ab/v2/other.nii.gz")
    (found,) = scan(tmp_path, ["thick/{spacing}/{patient}/{timepoint}/{pulse}.nii.gz"])
    assert found.fields == {"spacing": "5mm", "patient": "ab", "timepoint": "v2", "pulse": Pulse.t2f}


def test_a_template_may_lead_elsewhere(tmp_path):
    touch(tmp_path, "fine/p1-t1c.nii.gz", "study/x.txt")
    for template in ("../fine/{subject}-{pulse}", f"{tmp_path}/fine/{{subject}}-{{pulse}}"):
        (found,) = scan(tmp_path / "study", [template])
        assert found.path.resolve() == (tmp_path / "fine/p1-t1c.nii.gz").resolve()


def test_a_repeated_field_must_agree(tmp_path):
    touch(tmp_path, "low_res/5mm/p1/p1-t1c.nii.gz", "low_res/5mm/p1/p2-t1c.nii.gz")
    assert [found.fields["subject"] for found in scan(tmp_path, LAYOUTS[0].lr)] == ["p1"]


def test_experts_beside_a_scan_are_found_whatever_its_name(tmp_path):
    touch(tmp_path, "a [1]*/p?-t1c.nii.gz", "a [1]*/p?-t1c_SR-SMORE.nii", "a [1]*/pX-t1c_SR-SMORE.nii")
    path = tmp_path / "a [1]*/p?-t1c.nii.gz"
    assert [file.name for file in beside("{lr}_SR-{expert}", path, Expert.SMORE)] == ["p?-t1c_SR-SMORE.nii"]


def test_lookup_compares_the_fields_that_a_file_has(tmp_path):
    touch(tmp_path, "p1-t1c.nii.gz", "p1-t2w.nii.gz", "p2-t1c.nii.gz")
    index = indexed(scan(tmp_path, ["{subject}-{pulse}"]))
    found = lookup(index, {"subject": "p1", "pulse": "t2w", "spacing": "5mm"})
    assert [path.name for path in found] == ["p1-t2w.nii.gz"]
    assert lookup(index, {"subject": "p3", "pulse": "t2w"}) == []


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("BraTS-MEN-00004-000", ("00004", "000")),
        ("sub-01_ses-02", ("01", "02")),
        ("sub-01", ("01", "000")),
        ("patient04_study1", ("patient04", "study1")),
        ("ab12-Visit-2", ("ab12", "Visit-2")),
        ("TCGA-FG-6692", ("TCGA-FG-6692", "000")),
        ("demo-001", ("demo-001", "000")),
    ],
)
def test_names_state_patient_and_timepoint(subject, expected):
    assert patient_of(subject) == expected


@pytest.mark.parametrize("template", ["{subject}-{colour}", "no-fields"])
def test_a_field_that_nothing_fills_is_refused(template):
    with pytest.raises(ValueError, match="must have fields among"):
        check_templates([template], ["subject", "pulse"])


def test_layouts_are_chosen_by_name_and_changed_by_templates():
    assert layout_of("auto") is None
    assert layout_of("cohort").name == "cohort"
    mixed = layout_of("auto", lr=["{subject}-{pulse}"])
    assert (mixed.lr, mixed.hr) == (("{subject}-{pulse}",), PLAIN.hr)
    with pytest.raises(ValueError, match="layout must be auto"):
        layout_of("brats")
