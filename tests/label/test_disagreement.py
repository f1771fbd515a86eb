"""Scans that the experts disagree about most come first."""

import shutil

import numpy as np
import pytest

from quick_experts import write_expert_files
from revoxel.core.geometry import Grid
from revoxel.core.volumes import read_volume, write_volume
from revoxel.experts.names import Expert
from revoxel.label.disagreement import Scorer, disagreement


def add_scan(scan, name, spread):
    """A copy of the scan whose experts lie beside it, one of them brighter by a share of the others."""
    copy = scan.with_name(f"{name}.nii.gz")
    low = read_volume(scan)
    write_volume(copy, low.data * np.float32(1 + spread / 100), low.grid)
    files = write_expert_files(read_volume(copy), scan.with_name(name))
    first = read_volume(files[Expert.BSPLINE])
    for expert, path in files.items():
        share = spread if expert is Expert.UNIRES else 0
        write_volume(path, first.data * np.float32(1 + share), first.grid, overwrite=True)
    return copy, files


def test_disagreement_is_the_mean_spread_in_the_head_in_units_of_tissue(scan):
    same, files = add_scan(scan, "same_T1w", 0.0)
    assert disagreement(same, files) == 0
    small, files = add_scan(scan, "small_T1w", 0.1)
    low = disagreement(small, files)
    large, files = add_scan(scan, "large_T1w", 0.3)
    assert disagreement(large, files) == pytest.approx(3 * low, rel=0.05)


def test_disagreement_does_not_depend_on_the_units_of_the_scan(scan, tmp_path):
    path, files = add_scan(scan, "a_T1w", 0.2)
    other = scan.with_name("b_T1w.nii.gz")
    low = read_volume(path)
    write_volume(other, low.data * 50, low.grid)
    scaled = {}
    for expert, file in files.items():
        volume = read_volume(file)
        scaled[expert] = write_volume(tmp_path / f"{expert}.nii.gz", volume.data * 50, volume.grid)
    assert disagreement(other, scaled) == pytest.approx(disagreement(path, files), rel=1e-4)


def test_worst_comes_first_and_the_unknown_wait(cache, scan):
    scans = {name: add_scan(scan, name, spread)[0] for name, spread in (("a_T1w", 0.1), ("b_T1w", 0.3))}
    ranking = Scorer(cache).rank(scans | {"sub-01_T1w": scan})
    assert list(ranking.scores) == ["b_T1w", "a_T1w"]
    assert ranking.waiting == ("sub-01_T1w",)
    assert cache.run.n_runs == 0


def test_score_is_kept_until_the_experts_change(cache, scan, monkeypatch):
    path, files = add_scan(scan, "a_T1w", 0.1)
    score = Scorer(cache).known_score(path)
    with monkeypatch.context() as patch:
        patch.setattr("revoxel.label.disagreement.disagreement", lambda *_: 1 / 0)
        assert Scorer(cache).known_score(path) == score
    volume = read_volume(files[Expert.SMORE])
    write_volume(files[Expert.SMORE], volume.data * 2, volume.grid, overwrite=True)
    assert Scorer(cache).known_score(path) > score


def test_missing_experts_are_made_in_the_background(cache, scan):
    scorer = Scorer(cache)
    scorer.make_missing({"sub-01_T1w": scan}).join()
    ranking = scorer.rank({"sub-01_T1w": scan})
    assert list(ranking.scores) == ["sub-01_T1w"]
    assert not ranking.waiting


def test_two_makers_never_work_at_once(cache, scan):
    scorer = Scorer(cache)
    scorer._busy.acquire()
    assert scorer.make_missing({"sub-01_T1w": scan}) is None


def test_unusable_scan_is_set_aside_and_the_rest_goes_on(cache, scan, brain_file):
    flat = scan.with_name("isotropic_T1w.nii.gz")
    shutil.copy(brain_file, flat)
    scans = {"isotropic_T1w": flat, "sub-01_T1w": scan}
    scorer = Scorer(cache)
    scorer.make_missing(scans).join()
    ranking = scorer.rank(scans)
    assert list(ranking.scores) == ["sub-01_T1w"]
    assert not ranking.waiting


def test_experts_of_another_scan_give_no_score(cache, scan):
    path, files = add_scan(scan, "a_T1w", 0.1)
    volume = read_volume(files[Expert.SMORE])
    affine = volume.grid.affine.copy()
    affine[:3, 3] += 40
    write_volume(files[Expert.SMORE], volume.data, Grid(volume.grid.shape, affine), overwrite=True)
    assert Scorer(cache).known_score(path) is None
