"""A study is refused before it can mix patients."""

import json

import pytest

from revoxel.semivae.study import read_study


def scan(name, patient, label=None):
    return {"scan_id": name, "patient_id": patient, "label": label or f"{name}.nii.gz"}


def written(folder, scans, folds=()):
    path = folder / "study.json"
    path.write_text(json.dumps({"schema": 1, "scans": scans, "folds": list(folds)}))
    return path


def test_visits_of_a_patient_stay_together(tmp_path):
    fold = {"name": "fold0", "train": ["p1"], "val": [], "test": ["p2"]}
    study = read_study(written(tmp_path, [scan("a", "p1"), scan("b", "p2"), scan("c", "p1")], [fold]))
    assert [one.scan_id for one in study.scans_of(study.fold("fold0").train)] == ["a", "c"]
    assert study.resolve(study.scans[0].label) == (tmp_path / "a.nii.gz").resolve()


WRONG = [
    ([scan("a", "p1"), scan("b", "p2")], [{"name": "f", "train": ["p1"], "val": ["p1"]}], "disjoint"),
    ([scan("a", "p1")], [{"name": "f", "train": ["p1"], "val": ["p9"]}], "p9"),
    ([scan("a", "p1"), scan("a", "p2")], [], "distinct"),
    ([scan("a", "p1"), scan("b", "p2", "a.nii.gz")], [], "one patient"),
    ([{**scan("a", "p1"), "age": 3}], [], "scans.0.age"),
    ([], [], "scans"),
]


@pytest.mark.parametrize(("scans", "folds", "words"), WRONG)
def test_study_that_would_leak_or_confuse_is_refused(tmp_path, scans, folds, words):
    with pytest.raises(ValueError, match=words):
        read_study(written(tmp_path, scans, folds))


def test_absent_study_and_fold_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="study file"):
        read_study(tmp_path / "none.json")
    with pytest.raises(ValueError, match="fold must be one of"):
        read_study(written(tmp_path, [scan("a", "p1")])).fold("fold9")
