"""A study with one bad row keeps the others; what is written can be trusted and moved."""

import csv
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from revoxel.core.manifest import Case, load_manifest
from revoxel.core.provenance import sha256_of, write_sidecar
from revoxel.core.pulses import Spacing
from revoxel.core.volumes import write_volume
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.sagnef.study.build import StudySettings, build_study, empty_splits, write_study
from revoxel.sagnef.study.checks import profile_for_experts
from revoxel.sagnef.study.layouts import layout_of
from revoxel.sagnef.study.rows import Wanted, find_rows
from study_folder import GRID, PROFILE, SHAPE, expert_path, shifted, texture, truncated, write_subject

SETTINGS = StudySettings(n_folds=0)


def study_of(root, settings=SETTINGS, **wanted):
    wish = Wanted(**wanted)
    return build_study(find_rows(root, wish)[1], wish, settings)


@pytest.fixture
def two(tmp_path):
    """Two whole rows, p1 and p2; returns the scan of p1."""
    write_subject(tmp_path, "p2", seed=2)
    return write_subject(tmp_path, "p1", seed=1)


def test_a_whole_study_has_no_problems(two, tmp_path):
    study = study_of(tmp_path)
    assert (study.problems(), study.warnings(), study.n_missing_experts) == ([], [], 0)
    case = study.manifest.cases[0]
    assert (case.subject, case.axis, case.separation_mm, case.spacing) == ("p1", 2, 5.0, "5mm")
    assert set(case.sha256) == {"lr", "hr", *(f"experts.{expert}" for expert in Expert)}
    assert case.sha256["lr"] == sha256_of(two)


def test_a_spacing_that_no_path_states_comes_from_the_header(two, tmp_path):
    layout = layout_of("auto", lr=["5mm/{subject}-{pulse}"])
    assert {case.spacing for case in study_of(tmp_path, layout=layout).manifest.cases} == {Spacing.mm5}
    with pytest.raises(ValueError, match="rows that can be used"):
        study_of(tmp_path, layout=layout, spacings=(Spacing.mm3,))


def _damage_scan(scan):
    truncated(scan)


def _empty_truth(scan):
    truth_of(scan).write_bytes(b"")


def _damage_expert(scan):
    truncated(expert_path(scan, Expert.ECLARE))


def _move_expert(scan):
    shifted(expert_path(scan, Expert.SMORE), (0, 0, 1))


def _move_truth(scan):
    shifted(truth_of(scan), (0.4, 0, 0))


def _move_truth_far(scan):
    shifted(truth_of(scan), (300, 0, 0))


def _flip_scan(scan):
    image = nibabel.load(scan)
    flipped = nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine @ np.diag([-1, 1, 1, 1]))
    scan.unlink()
    nibabel.save(flipped, scan)


def _isotropic_scan(scan):
    write_volume(scan, texture(1), GRID, overwrite=True)


def _wrong_spacing(scan):
    image = nibabel.load(scan)
    thin = nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine @ np.diag([1, 1, 0.6, 1]))
    scan.unlink()
    nibabel.save(thin, scan)


def _other_source(scan):
    write_sidecar(
        expert_path(scan, Expert.SMORE).with_name("p1-t1c_SR-SMORE.json"), {"input_sha256": "0" * 64}
    )


def _two_profiles(scan):
    for expert, profile in ((Expert.SMORE, "gauss:5"), (Expert.UNIRES, "rect:5")):
        write_sidecar(scan.with_name(f"p1-t1c_SR-{expert}.json"), {"profile": profile})


def truth_of(scan):
    return scan.parents[1] / "hr" / scan.name


@pytest.mark.parametrize(
    ("damage", "role", "words"),
    [
        (_damage_scan, "lr", "cut off"),
        (_empty_truth, "hr", "empty file"),
        (_damage_expert, "ECLARE", "cut off"),
        (_move_expert, "experts", "one grid"),
        (_move_truth, "hr", "offset of 0.4 voxels"),
        (_move_truth_far, "hr", "overlap"),
        (_flip_scan, "experts", "axes of the scan"),
        (_isotropic_scan, "lr", "isotropic"),
        (_wrong_spacing, "lr", "named as 5mm"),
        (_other_source, "SMORE", "another scan"),
        (_two_profiles, "experts", "one slice profile"),
    ],
)
def test_a_bad_row_is_named_and_the_others_kept(two, tmp_path, damage, role, words):
    damage(two)
    study = study_of(tmp_path)
    assert [case.subject for case in study.manifest.cases] == ["p2"]
    assert study.n_left_out == 1
    assert any(line.startswith(f"p1-t1c 5mm: {role}: ") and words in line for line in study.problems())


def test_without_experts_the_grid_to_come_is_compared(tmp_path):
    write_subject(tmp_path, "p1", experts=())
    scan = write_subject(tmp_path, "p2", experts=())
    shifted(truth_of(scan), (0, 0, 0.5))
    study = study_of(tmp_path)
    assert study.n_missing_experts == 4
    assert study.n_left_out == 1


def test_nothing_usable_is_an_error_with_the_first_reason(tmp_path):
    truncated(write_subject(tmp_path, "p1"))
    with pytest.raises(ValueError, match=r"p1-t1c 5mm: lr: .*cut off"):
        study_of(tmp_path)


def test_an_interpolated_truth_warns_or_is_excluded(two, tmp_path):
    thick = ndimage.zoom(texture(3, (*SHAPE[:2], 6)), (1, 1, 3), order=3, mode="grid-wrap", grid_mode=True)
    write_volume(truth_of(two), thick, GRID, overwrite=True)
    study = study_of(tmp_path)
    assert study.n_left_out == 0
    assert "probably interpolated" in study.warnings()[0]
    strict = study_of(tmp_path, replace(SETTINGS, exclude_interpolated=True))
    assert [case.subject for case in strict.manifest.cases] == ["p2"]


def test_time_points_of_a_patient_are_in_one_fold(tmp_path):
    for subject in ("BraTS-MEN-1-000", "BraTS-MEN-1-001", "BraTS-MEN-2-000", "p3_study1", "p3_study2"):
        write_subject(tmp_path, subject, experts=())
    manifest = study_of(tmp_path, StudySettings(n_folds=3)).manifest
    assert len(manifest.cases) == 5
    assert sorted(patient for fold in manifest.folds for patient in fold.test) == ["1", "2", "p3"]
    assert manifest == study_of(tmp_path, StudySettings(n_folds=3)).manifest


def test_splits_without_rows_are_named(tmp_path):
    for subject in ("p1", "p2", "p3"):
        write_subject(tmp_path, subject, experts=())
    write_subject(tmp_path, "p1", pulse="t2w", experts=())
    lines = empty_splits(study_of(tmp_path, StudySettings(n_folds=3)).manifest)
    assert len(lines) == 1
    assert lines[0].startswith("5mm t2w: no rows in fold")


@pytest.mark.parametrize(
    ("settings", "label", "confidence"),
    [
        (SETTINGS, PROFILE.label, 1.0),
        (replace(SETTINGS, profile=SliceProfile.gauss(4)), "gauss:4", 1.0),
        # Four slices are too few for an estimate: the header's thickness is assumed.
        (replace(SETTINGS, trust_sidecar=False), "gauss:5", 0.0),
    ],
)
def test_the_profile_is_recorded_stated_or_estimated(tmp_path, settings, label, confidence):
    write_subject(tmp_path, "p1", experts=())
    profile = study_of(tmp_path, settings).manifest.cases[0].profile
    assert (profile.label, profile.confidence) == (label, confidence)


def test_what_experts_were_told_is_kept_beside_what_is_known(two, tmp_path):
    told = SliceProfile.gauss(5)
    for expert in Expert:
        record = {"profile": told.label, "profile_std_mm": told.std_mm, "input_sha256": sha256_of(two)}
        write_sidecar(two.with_name(f"p1-t1c_SR-{expert}.json"), record)
    case = study_of(tmp_path).manifest.cases[0]
    assert case.profile.std_mm == pytest.approx(PROFILE.std_mm)
    assert case.profile.assumed_std_mm == pytest.approx(told.std_mm)
    assert profile_for_experts(case) == told


def test_a_label_of_another_width_is_widened(two, tmp_path):
    case = study_of(tmp_path).manifest.cases[0]
    profile = {"label": "rect:5", "std_mm": 2.0, "assumed_std_mm": 1.8}
    changed = Case.model_validate(case.model_dump() | {"profile": profile})
    assert profile_for_experts(changed).kind == "rect"
    assert profile_for_experts(changed).std_mm == pytest.approx(1.8)


def test_a_written_study_is_read_back_and_may_move(two, tmp_path):
    study = study_of(tmp_path)
    write_study(study, tmp_path, tmp_path / "lists" / "kfolds_manifest.json")
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    manifest = load_manifest(moved / "lists" / "kfolds_manifest.json")
    assert manifest.missing_files(manifest.cases) == []
    assert manifest.changed_files() == []


def test_a_manifest_elsewhere_names_the_study_absolutely(two, tmp_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "m.json"
    write_study(study_of(tmp_path), tmp_path, path)
    assert json.loads(path.read_text())["root"] == str(tmp_path)
    manifest = load_manifest(path)
    assert manifest.missing_files(manifest.cases) == []


def test_the_table_has_one_line_per_volume(two, tmp_path):
    expert_path(two, Expert.UNIRES).unlink()
    truncated(tmp_path / "5mm" / "p2-t1c.nii.gz")
    table = write_study(study_of(tmp_path), tmp_path, tmp_path / "m.json")
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert len(lines) == 12
    by_role = {(line["subject"], line["role"]): line for line in lines}
    assert by_role["p1", "lr"]["sha256"] == sha256_of(two)
    assert by_role["p1", "lr"]["shape"] == "20x22x4"
    assert by_role["p1", "lr"]["spacing_mm"] == "1x1x5"
    assert by_role["p1", "UNIRES"] | {"used": "no", "note": "missing", "path": ""} == by_role["p1", "UNIRES"]
    assert "cut off" in by_role["p2", "lr"]["note"]
    assert by_role["p2", "hr"]["note"] == "its row is left out"
    assert {line["used"] for line in lines if line["subject"] == "p2"} == {"no"}


def test_reading_several_at_a_time_changes_nothing(two, tmp_path):
    truncated(tmp_path / "5mm" / "p2-t1c.nii.gz")
    alone, together = study_of(tmp_path), study_of(tmp_path, replace(SETTINGS, n_workers=2))
    assert alone.manifest == together.manifest
    assert alone.problems() == together.problems()
