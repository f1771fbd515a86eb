"""Runs are found by the cohort's list or by their records; what cannot be shown is listed."""

from __future__ import annotations

import json
import shutil

import pytest

from report_folder import HOSTILE, change_record
from revoxel.sagnef.report.records import CohortTask
from revoxel.sagnef.report.runs import find_runs


def test_cohort_gives_runs_with_truths_and_lists_what_failed(cohort) -> None:
    found = find_runs(cohort)
    assert [run.name for run in found.runs] == ["anna 5mm t1c", f"{HOSTILE} 5mm t1c"]
    assert [run.patient for run in found.runs] == ["anna", "bert"]
    assert all(run.truth and run.truth.is_file() for run in found.runs)
    assert found.failures == {"lost 5mm t1c": "failed: lost.nii.gz must be <readable>"}
    assert found.evaluation is None


def test_records_are_found_without_a_list(copied) -> None:
    (copied / "cohort.json").unlink()
    hidden = copied / ".unfinished"
    shutil.copytree(copied / "anna_5mm_t1c", hidden)
    shutil.copytree(copied / "anna_5mm_t1c", copied / "again")
    names = [run.name for run in find_runs(copied).runs]
    assert names == ["again/anna_fused", "anna_5mm_t1c/anna_fused", "bert_fused"]
    assert all(run.truth is None for run in find_runs(copied).runs)


def test_given_manifest_finds_truths_of_moved_scans_by_content(cohort, tmp_path) -> None:
    data = shutil.copytree(cohort.parent / "data", tmp_path / "data")
    manifest = shutil.copy(cohort.parent / "manifest.json", tmp_path)
    found = find_runs(cohort / "anna_5mm_t1c", manifest)
    assert [run.truth for run in found.runs] == [data / "anna_hr.nii.gz"]


def test_damaged_records_are_listed_and_the_others_stay(copied) -> None:
    (copied / "anna_5mm_t1c" / "anna_fused_sagnef.json").write_text('{"inputs": {')
    found = find_runs(copied)
    assert len(found.runs) == 1
    assert "must be a whole JSON record" in found.failures["anna 5mm t1c"]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("experts", "all"),
        ("experts", [str(number) for number in range(50)]),
        ("mean_weight", {"SMORE": -1}),
        ("dominant_share", {"SMORE": float("nan")}),
        ("profile", {"fwhm_mm": 4, "interval_mm": 3}),
        ("separation_mm", 0),
        ("inputs", {"lr": "scan.nii.gz"}),
    ],
)
def test_record_with_a_strange_entry_is_listed_with_its_name(copied, entry, value) -> None:
    change_record(copied / "anna_5mm_t1c" / "anna_fused_sagnef.json", **{entry: value})
    found = find_runs(copied)
    assert f"must hold {entry}" in found.failures["anna 5mm t1c"]
    assert len(found.runs) == 1


def test_task_without_a_record_says_its_state(copied) -> None:
    (copied / "anna_5mm_t1c" / "anna_fused_sagnef.json").unlink()
    assert find_runs(copied).failures["anna 5mm t1c"] == "done: no record in anna_5mm_t1c"


def test_stale_record_of_a_failed_task_is_not_shown(copied) -> None:
    content = json.loads((copied / "cohort.json").read_text())
    content["tasks"][0] |= {"state": "failed", "reason": "disk full"}
    change_record(copied / "cohort.json", **content)
    found = find_runs(copied)
    assert found.failures["anna 5mm t1c"] == "failed: disk full"
    assert len(found.runs) == 1


def test_task_that_waits_is_listed_even_if_an_older_result_is_there(copied) -> None:
    content = json.loads((copied / "cohort.json").read_text())
    content["tasks"][0] |= {"state": "waiting", "reason": "the scan changed"}
    change_record(copied / "cohort.json", **content)
    assert find_runs(copied).failures["anna 5mm t1c"] == "waiting: the scan changed"


def test_verbs_that_fuse_nothing_need_no_records(copied) -> None:
    task = {"subject": "p", "folder": "none", "state": "done", "record": None}
    change_record(copied / "cohort.json", verb="evaluate", tasks=[task])
    (copied / "evaluation.json").write_text("{}")
    found = find_runs(copied)
    assert found.failures == {}
    assert found.runs == ()
    assert found.evaluation == copied / "evaluation.json"


def test_lost_manifest_of_a_cohort_costs_the_truths_alone(copied) -> None:
    change_record(copied / "cohort.json", manifest=str(copied / "gone.json"))
    found = find_runs(copied)
    assert len(found.runs) == 2
    assert "gone.json" in found.failures["manifest of the cohort"]
    assert not any(run.truth for run in found.runs)


def test_lost_manifest_that_was_given_is_an_error(cohort, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        find_runs(cohort, tmp_path / "gone.json")


def test_folder_without_results_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="must hold"):
        find_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        find_runs(tmp_path / "none")


def test_name_of_a_task_says_nothing_twice() -> None:
    task = CohortTask(subject="p1-t1c_axis0", spacing="5mm", pulse="t1c", folder="f", state="done")
    assert task.name == "p1-t1c_axis0 5mm"
