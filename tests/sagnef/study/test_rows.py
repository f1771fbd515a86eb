"""Rows hold what belongs together and say what is missing; only names are read."""

import pytest

from revoxel.core.pulses import Pulse, Spacing
from revoxel.experts.names import Expert
from revoxel.sagnef.study.layouts import layout_of
from revoxel.sagnef.study.rows import Wanted, find_rows


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def rows_of(root, **wanted):
    return {row.name: row for row in find_rows(root, Wanted(**wanted))[1]}


def test_a_row_joins_scan_truth_and_experts(tmp_path):
    touch(tmp_path, "hr/p1-t1c.nii.gz", "5mm/p1-t1c.nii.gz", "5mm/p1-t1c_SR-SMORE.nii.gz")
    touch(tmp_path, "5mm/p1-t1c.experts/p1-t1c_SR-UNIRES.nii.gz", "sr/SR_ECLARE/5mm/p1-t1c.nii.gz")
    layout, (row,) = find_rows(tmp_path, Wanted())
    assert layout.name == "plain"
    assert (row.lr, row.hr) == (tmp_path / "5mm/p1-t1c.nii.gz", tmp_path / "hr/p1-t1c.nii.gz")
    assert set(row.experts) == {Expert.ECLARE, Expert.SMORE, Expert.UNIRES}
    assert row.problems == ()


def test_the_cohort_layout_is_recognised(tmp_path):
    name = "BraTS-MEN-00004-000"
    touch(tmp_path, f"high_resolution/{name}/{name}-t1c.nii.gz", f"low_res/5mm/{name}/{name}-t1c.nii.gz")
    touch(tmp_path, f"models/SMORE/5mm/output_volumes/{name}-t1c.nii.gz")
    touch(tmp_path, f"models/SR_UNIRES/5mm/output_volumes/{name}-t1c.nii.gz")
    layout, (row,) = find_rows(tmp_path, Wanted())
    assert layout.name == "cohort"
    assert (row.fields["patient"], row.fields["timepoint"]) == ("00004", "000")
    assert set(row.experts) == {Expert.SMORE, Expert.UNIRES}
    assert row.problems == ()


def test_words_for_a_pulse_may_differ_between_files(tmp_path):
    touch(tmp_path, "hr/p1_FLAIR.nii.gz", "5mm/p1-t2f.nii.gz")
    assert rows_of(tmp_path)["p1-t2f 5mm"].hr == tmp_path / "hr/p1_FLAIR.nii.gz"


def test_patient_and_timepoint_join_with_a_subject(tmp_path):
    touch(tmp_path, "fine/04/study1/t1c.nii.gz", "5mm/04_study1-t1c.nii.gz")
    layout = layout_of("auto", hr=["fine/{patient}/{timepoint}/{pulse}"])
    row = rows_of(tmp_path, layout=layout)["04_study1-t1c 5mm"]
    assert row.hr == tmp_path / "fine/04/study1/t1c.nii.gz"


def test_a_missing_truth_is_a_problem_unless_none_is_wanted(tmp_path):
    touch(tmp_path, "5mm/p1-t1c.nii.gz")
    assert rows_of(tmp_path)["p1-t1c 5mm"].problems == ("hr: missing",)
    assert rows_of(tmp_path, truth=False)["p1-t1c 5mm"].problems == ()


def test_two_truths_are_a_problem(tmp_path):
    touch(tmp_path, "5mm/p1-t1c.nii.gz", "hr/p1-t1c.nii.gz", "raw/p1-t1c.nii.gz")
    (problem,) = rows_of(tmp_path)["p1-t1c 5mm"].problems
    assert problem.startswith("hr: must be one file, got 2")


def test_a_scan_that_others_have_is_missing(tmp_path):
    touch(tmp_path, "hr/p1-t1c.nii.gz", "hr/p2-t1c.nii.gz", "5mm/p1-t1c.nii.gz")
    rows = rows_of(tmp_path)
    assert rows["p2-t1c 5mm"].problems == ("lr: missing",)
    assert "p1-t1c 3mm" not in rows
    assert rows_of(tmp_path, spacings=(Spacing.mm3, Spacing.mm5))["p1-t1c 3mm"].problems == ("lr: missing",)


def test_a_condition_makes_a_row_of_its_own(tmp_path):
    touch(
        tmp_path, "hr/p1-t1c.nii.gz", "5mm/p1-t1c_axis0_5mm_wide.nii.gz", "5mm/p1-t1c_axis1_5mm_wide.nii.gz"
    )
    rows = find_rows(tmp_path, Wanted())[1]
    assert [row.subject for row in rows] == ["p1_axis0_5mm_wide", "p1_axis1_5mm_wide"]
    assert {row.condition for row in rows} == {"wide"}


def test_rows_that_would_share_file_names_are_not_both_kept(tmp_path):
    touch(tmp_path, "hr/p1-t1c.nii.gz", "a/5mm/p1-t1c.nii.gz", "b/5mm/p1-t1c.nii.gz")
    first, second = find_rows(tmp_path, Wanted())[1]
    assert first.problems == ()
    assert "already" in second.problems[0]


def test_only_the_wanted_pulses_are_looked_at(tmp_path):
    touch(tmp_path, "hr/p1-t1c.nii.gz", "5mm/p1-t1c.nii.gz", "hr/p1-t2w.nii.gz", "5mm/p1-t2w.nii.gz")
    assert list(rows_of(tmp_path, pulses=(Pulse.t2w,))) == ["p1-t2w 5mm"]


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ({"lr": ["{spacing}/{subject}"]}, "must have {pulse}"),
        ({"lr": ["{spacing}/{pulse}"]}, "{subject} or {patient}"),
        ({"hr": ["{subject}-{pulse}-{spacing}"]}, "spacing"),
        ({"expert": ["{lr}_sr"]}, "must have {expert}"),
    ],
)
def test_templates_that_cannot_work_are_explained(tmp_path, templates, words):
    with pytest.raises(ValueError, match=words):
        find_rows(tmp_path, Wanted(layout=layout_of("auto", **templates)))


def test_an_empty_or_absent_folder_is_explained(tmp_path):
    touch(tmp_path, "hr/p1-t1c.nii.gz")
    with pytest.raises(ValueError, match=r"revoxel simulate.*--lr-template"):
        find_rows(tmp_path, Wanted())
    with pytest.raises(FileNotFoundError, match="folder of a study"):
        find_rows(tmp_path / "none", Wanted())
