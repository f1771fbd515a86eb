"""Missing experts are made once, whoever makes them; a bad row stops no other."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from revoxel.core.manifest import load_manifest, save_manifest
from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import read_volume, write_volume
from revoxel.experts.names import Expert
from revoxel.sagnef.data import fold_items
from revoxel.sagnef.study import fill
from revoxel.sagnef.study.build import StudySettings, build_study, write_study
from revoxel.sagnef.study.fill import FillSettings, fill_experts, missing_experts
from revoxel.sagnef.study.rows import Wanted, find_rows
from study_folder import FINE, PROFILE, expert_path, texture, truncated, write_subject

CHEAP = (Expert.BSPLINE, Expert.UNIRES)
SETTINGS = FillSettings(device="cpu")


def silent(_stage, _share):
    pass


def write_manifest(root):
    wanted = Wanted(experts=CHEAP)
    study = build_study(find_rows(root, wanted)[1], wanted, StudySettings(n_folds=0))
    write_study(study, root, root / "m.json")
    return root / "m.json"


@pytest.fixture
def manifest(tmp_path):
    """Two rows without experts; the cheap experts only."""
    for seed, subject in enumerate(("p1", "p2")):
        write_subject(tmp_path, subject, seed=seed, experts=())
    return write_manifest(tmp_path)


def test_filled_rows_can_be_trained_on(manifest):
    filled = fill_experts(manifest, SETTINGS, silent)
    assert (filled.made, filled.failed) == ({"p1-t1c 5mm": 2, "p2-t1c 5mm": 2}, {})
    study = load_manifest(manifest)
    assert missing_experts(study, SETTINGS) == {}
    assert study.changed_files() == []
    assert {len(case.sha256) for case in study.cases} == {4}
    items = fold_items(manifest, None, spacing="5mm", pulses=["t1c"])
    assert {read_volume(items[0][expert.value]).grid.shape for expert in CHEAP} == {FINE.shape}


def test_experts_are_told_the_rows_profile(manifest, tmp_path):
    fill_experts(manifest, SETTINGS, silent)
    record = read_sidecar(tmp_path / "5mm" / "p1-t1c_SR-UNIRES.json")
    assert record["profile"] == PROFILE.label


def test_the_table_follows(manifest):
    fill_experts(manifest, SETTINGS, silent)
    lines = list(csv.DictReader(manifest.with_suffix(".csv").read_text().splitlines()))
    case = load_manifest(manifest).cases[0]
    line = next(line for line in lines if (line["subject"], line["role"]) == ("p1", "UNIRES"))
    assert (line["path"], line["used"], line["note"]) == ("5mm/p1-t1c_SR-UNIRES.nii.gz", "yes", "")
    assert line["sha256"] == case.sha256["experts.UNIRES"]
    assert line["shape"] == "20x22x20"


def test_a_second_run_touches_nothing(manifest, tmp_path):
    fill_experts(manifest, SETTINGS, silent)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}
    assert fill_experts(manifest, SETTINGS, silent).made == {}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")} == before


def test_a_run_that_was_killed_before_it_was_entered_goes_on(manifest, tmp_path):
    blank = load_manifest(manifest)
    fill_experts(manifest, replace(SETTINGS, experts=(Expert.BSPLINE,)), silent)
    before = (tmp_path / "5mm" / "p1-t1c_SR-BSPLINE.nii.gz").stat().st_mtime_ns
    save_manifest(blank, manifest)
    fill_experts(manifest, SETTINGS, silent)
    assert (tmp_path / "5mm" / "p1-t1c_SR-BSPLINE.nii.gz").stat().st_mtime_ns == before
    assert missing_experts(load_manifest(manifest), SETTINGS) == {}


def test_a_row_that_fails_does_not_stop_the_others(manifest, tmp_path):
    truncated(tmp_path / "5mm" / "p1-t1c.nii.gz")
    filled = fill_experts(manifest, SETTINGS, silent)
    assert list(filled.made) == ["p2-t1c 5mm"]
    assert "cut off" in filled.failed["p1-t1c 5mm"]
    assert load_manifest(manifest).cases[0].experts == {}


def test_a_scan_that_changed_since_it_was_listed_is_refused(manifest, tmp_path):
    scan = read_volume(tmp_path / "5mm" / "p1-t1c.nii.gz")
    write_volume(scan.path, scan.data + 1, scan.grid, overwrite=True)
    assert "run revoxel manifest again" in fill_experts(manifest, SETTINGS, silent).failed["p1-t1c 5mm"]


def test_a_row_that_another_process_works_on_is_passed_over(manifest, tmp_path):
    with FileLock(tmp_path / "5mm" / ".p1-t1c.lock"):
        filled = fill_experts(manifest, SETTINGS, silent)
    assert filled.elsewhere == ["p1-t1c 5mm"]
    assert list(filled.made) == ["p2-t1c 5mm"]


def test_what_another_process_entered_meanwhile_is_kept(manifest, tmp_path, monkeypatch):
    real = fill.run_experts

    def interrupted(request, progress):
        run = real(request, progress)
        if request.stem == "p2-t1c":
            return run
        study = load_manifest(manifest)
        other = study.cases[1].model_copy(update={"condition": "entered by another"})
        save_manifest(study.model_copy(update={"cases": [study.cases[0], other]}), manifest)
        return run

    monkeypatch.setattr(fill, "run_experts", interrupted)
    fill_experts(manifest, SETTINGS, silent)
    assert load_manifest(manifest).cases[1].condition == "entered by another"
    assert missing_experts(load_manifest(manifest), SETTINGS) == {}


def test_no_lock_of_a_row_is_left(manifest, tmp_path):
    fill_experts(manifest, SETTINGS, silent)
    assert list((tmp_path / "5mm").glob(".*")) == []


def test_volumes_on_another_grid_are_refused_before_computing(tmp_path):
    scan = write_subject(tmp_path, "p1", experts=())
    write_volume(expert_path(scan, Expert.BSPLINE), texture(0), replace(FINE, shape=(20, 22, 18)))
    filled = fill_experts(write_manifest(tmp_path), SETTINGS, silent)
    assert "one grid" in filled.failed["p1-t1c 5mm"]
    assert not expert_path(scan, Expert.UNIRES).exists()


def test_results_may_go_elsewhere(manifest, tmp_path):
    out = tmp_path / "made"
    fill_experts(manifest, replace(SETTINGS, out_dir=out), silent)
    assert (out / "5mm" / "p1-t1c_SR-UNIRES.nii.gz").is_file()
    assert load_manifest(manifest).cases[0].experts["UNIRES"].parts == (
        "made",
        "5mm",
        "p1-t1c_SR-UNIRES.nii.gz",
    )


def test_a_linked_scan_gets_its_experts_beside_the_link(tmp_path):
    scan = write_subject(tmp_path / "store", "p1", experts=())
    root = tmp_path / "study"
    for path in (scan, scan.with_name("p1-t1c.json"), tmp_path / "store/hr/p1-t1c.nii.gz"):
        link = root / path.relative_to(tmp_path / "store")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    manifest = write_manifest(root)
    fill_experts(manifest, SETTINGS, silent)
    assert (root / "5mm" / "p1-t1c_SR-UNIRES.nii.gz").is_file()
    assert sorted(path.name for path in scan.parent.iterdir()) == ["p1-t1c.json", "p1-t1c.nii.gz"]


def test_the_voxel_size_follows_the_truth(tmp_path):
    scan = write_subject(tmp_path, "p1", experts=())
    for path in (scan, tmp_path / "hr/p1-t1c.nii.gz"):
        volume = read_volume(path)
        affine = np.diag([0.9, 0.9, 0.9, 1.0]) @ volume.grid.affine
        write_volume(path, volume.data, replace(volume.grid, affine=affine), overwrite=True)
    manifest = write_manifest(tmp_path)
    fill_experts(manifest, SETTINGS, silent)
    made = read_volume(expert_path(scan, Expert.UNIRES))
    assert made.grid.spacing_mm == pytest.approx((0.9, 0.9, 0.9))
