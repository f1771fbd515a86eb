"""Targets of a run: fitted on training patients alone, kept beside it, refused where they leak."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from revoxel.semivae.features.normalizer import FeatureNormalizer
from revoxel.semivae.learning.measures import measured_study, mirrored_values, opened_fold
from semivae_cohort import FEATURES, write_small_cohort


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_cohort(tmp_path_factory.mktemp("cohort"))


def test_normaliser_is_that_of_the_training_patients_whatever_the_others_have(
    study: Path, tmp_path: Path
) -> None:
    measured = measured_study(study, "fold0", tmp_path / "a", FEATURES, min_count=2)
    kept = (tmp_path / "a" / "normalizer.json").read_bytes()
    table = json.loads((tmp_path / "a" / "features.json").read_text())
    test = set(measured.fold.test)
    for row in table["rows"]:
        if row["patient_id"] in test:
            row["wt.log_volume"] = 99.0
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(table))
    measured_study(study, "fold0", tmp_path / "b", FEATURES, table=changed, min_count=2)
    assert (tmp_path / "b" / "normalizer.json").read_bytes() == kept
    assert measured.normalizer.fitted.train_ids == sorted(measured.fold.train)


def test_normaliser_of_another_fold_is_refused(study: Path, tmp_path: Path) -> None:
    measured_study(study, "fold0", tmp_path / "a", FEATURES, min_count=2)
    other = tmp_path / "a" / "normalizer.json"
    with pytest.raises(SystemExit, match="fitted on the training patients of fold fold1"):
        measured_study(study, "fold1", tmp_path / "b", FEATURES, normalizer=other)


def test_normaliser_of_other_features_is_refused(study: Path, tmp_path: Path) -> None:
    measured = measured_study(study, "fold0", tmp_path / "a", FEATURES, min_count=2)
    fewer = FeatureNormalizer(FEATURES[:2], min_count=2).fit(measured.table, measured.fold.train)
    path = fewer.to_json(tmp_path / "fewer.json")
    with pytest.raises(SystemExit, match="features of the partition"):
        measured_study(study, "fold0", tmp_path / "b", FEATURES, normalizer=path)


def test_missing_study_and_unknown_fold_are_named(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="revoxel semivae synthesise"):
        opened_fold(None, "fold0")
    with pytest.raises(SystemExit, match="fold must be one of"):
        measured_study(study, "fold9", tmp_path, FEATURES)
    assert opened_fold(study, "all")[1].val == []


def test_scan_that_cannot_be_measured_is_named(study: Path, tmp_path: Path) -> None:
    text = json.loads((study / "study.json").read_text())
    text["scans"][0]["label"] = "nowhere.nii.gz"
    for scan in text["scans"]:
        scan["images"] = {pulse: str(study / path) for pulse, path in scan["images"].items()}
        scan["label"] = str(study / scan["label"])
    (tmp_path / "study.json").write_text(json.dumps(text))
    with pytest.raises(SystemExit, match=r"got 1 that could not; first .*nowhere"):
        measured_study(tmp_path, "fold0", tmp_path / "run", FEATURES, min_count=2)


def test_mirror_moves_the_centroid_and_nothing_else() -> None:
    values = {"wt.centroid_r_mm": 3.0, "wt.centroid_a_mm": 2.0, "wt.log_volume": 9.0}
    assert mirrored_values(values) == {**values, "wt.centroid_r_mm": -3.0}
