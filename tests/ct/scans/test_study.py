"""A study file is whole, coherent, and keeps a patient on one side of every fold."""

import json

import pytest

from revoxel.ct.scans.study import CtRow, CtStudy, load_study, patient_folds, save_study


def row(name, patient=None, **fields):
    fields = {"fine": f"fine/{name}.nii.gz", "coarse": f"coarse/{name}.nii.gz", **fields}
    return CtRow(name=name, patient_id=patient or name, spacing_mm=1.5, **fields)


@pytest.fixture
def study():
    rows = [row("a"), row("b"), row("b2", "b"), row("c")]
    return CtStudy(spacing_mm=1.5, rows=rows, folds=patient_folds(["a", "b", "c"]))


def refused(study, tmp_path, change, words):
    content = json.loads(save_study(study, tmp_path / "study.json").read_text())
    change(content)
    (tmp_path / "study.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as caught:
        load_study(tmp_path / "study.json")
    assert "\n" not in str(caught.value)
    assert "study.json" in str(caught.value)


def test_study_comes_back_with_its_folder(study, tmp_path):
    save_study(study, tmp_path / "study.json")
    for path in (tmp_path / "study.json", tmp_path):
        back = load_study(path)
        assert back.model_copy(update={"folder": study.folder}) == study
        assert back.resolve(back.rows[0].fine) == (tmp_path / "fine/a.nii.gz").resolve()


def test_every_patient_is_left_out_once_with_all_its_rows(study):
    assert [fold.name for fold in study.folds] == ["without-a", "without-b", "without-c"]
    fold = study.fold("without-b")
    assert [r.name for r in study.rows_of(fold.test)] == ["b", "b2"]
    assert [r.name for r in study.rows_of(fold.train)] == ["a", "c"]


@pytest.mark.parametrize(("n_patients", "n_folds"), [(1, 0), (2, 2), (10, 10), (11, 5)])
def test_number_of_folds_follows_the_number_of_patients(n_patients, n_folds):
    assert len(patient_folds([f"p{index}" for index in range(n_patients)])) == n_folds


def test_licence_is_not_assumed():
    assert not row("a").weights_may_ship
    assert row("a").licence == "not stated"


def test_patient_in_train_and_test_is_refused(study, tmp_path):
    refused(study, tmp_path, lambda c: c["folds"][0]["train"].append("a"), "train and test must be disjoint")


def test_one_source_for_two_patients_is_refused(study, tmp_path):
    def change(content):
        content["rows"][0]["source_sha256"] = content["rows"][3]["source_sha256"] = "0" * 64

    refused(study, tmp_path, change, "row c must belong to one patient")


def test_one_file_for_two_patients_is_refused(study, tmp_path):
    refused(study, tmp_path, lambda c: c["rows"][3].update(fine="fine/a.nii.gz"), "folds would mix them")


def test_names_that_repeat_are_refused(study, tmp_path):
    refused(study, tmp_path, lambda c: c["rows"][3].update(name="a"), r"names of rows must be distinct.*'a'")


def test_fold_of_an_unknown_patient_is_refused(study, tmp_path):
    refused(study, tmp_path, lambda c: c["folds"][0]["train"].append("z"), r"must name patients of rows.*'z'")


def test_unknown_fields_and_broken_json_are_refused(study, tmp_path):
    refused(study, tmp_path, lambda c: c["rows"][0].update(colour="red"), "rows.0.colour")
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ValueError, match=r"study\.json"):
        load_study(tmp_path)


def test_missing_study_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="make one with revoxel ct prepare"):
        load_study(tmp_path / "nowhere.json")


def test_unknown_fold_lists_the_known_ones(study):
    with pytest.raises(ValueError, match=r"fold must be one of \['without-a'.*got 'fold7'"):
        study.fold("fold7")


def test_changed_and_missing_files_are_told_apart(study, tmp_path):
    listed = study.rows[0].model_copy(update={"sha256": {"fine": "0" * 64}})
    save_study(CtStudy(spacing_mm=1.5, rows=[listed]), tmp_path / "study.json")
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine" / "a.nii.gz").write_bytes(b"something else")
    changed, missing = load_study(tmp_path).changed_files()
    assert changed.startswith("a.fine: no longer the file")
    assert missing.startswith("a.coarse: no such file")
