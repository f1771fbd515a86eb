"""Experts are found, or made once and kept away from the scans."""

import logging
import shutil

import pytest

from quick_experts import write_expert_files
from revoxel.core.volumes import read_volume, write_volume
from revoxel.experts.names import Expert
from revoxel.experts.run import ExpertRequest
from revoxel.label.cache import logged
from revoxel.label.refusals import RefusedError


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_experts_are_made_once_and_never_in_the_image_folder(cache, scan):
    before = files(scan.parent)
    first = cache.ensure(scan)
    assert cache.ensure(scan) == first
    assert list(first) == list(Expert)
    assert cache.run.n_runs == 1
    assert files(scan.parent) == before


def test_cache_is_keyed_by_content_not_by_name(cache, scan):
    made = cache.ensure(scan)
    copy = scan.with_name("renamed_T1w.nii.gz")
    shutil.copy(scan, copy)
    assert cache.known(copy) == made


def test_changed_scan_gets_new_experts(cache, scan):
    cache.ensure(scan)
    low = read_volume(scan)
    write_volume(scan, low.data + 1, low.grid, overwrite=True)
    assert not cache.known(scan)


def test_experts_beside_the_scan_are_preferred(cache, scan):
    cache.ensure(scan)
    beside = write_expert_files(read_volume(scan), scan.with_name("sub-01_T1w"))
    assert cache.known(scan) == beside


def test_incomplete_experts_beside_the_scan_are_ignored(cache, scan):
    beside = write_expert_files(read_volume(scan), scan.with_name("sub-01_T1w"))
    beside[Expert.SMORE].unlink()
    assert not cache.beside(scan)


def test_expert_that_is_a_link_out_of_the_study_is_refused(cache, scan, tmp_path):
    beside = write_expert_files(read_volume(scan), scan.with_name("sub-01_T1w"))
    elsewhere = tmp_path / "elsewhere.nii.gz"
    beside[Expert.SMORE].rename(elsewhere)
    beside[Expert.SMORE].symlink_to(elsewhere)
    with pytest.raises(RefusedError, match="link that leaves it"):
        cache.known(scan)


def test_outdated_experts_of_our_own_are_renewed(cache, scan):
    cache.ensure(scan)
    cache.run.outdated = True
    cache.runner(scan)(ExpertRequest(read_volume(scan)), None)
    assert cache.run.n_runs == 2


def test_nothing_is_kept_of_a_scan_that_is_not_of_the_datastore(cache, scan, tmp_path):
    upload = tmp_path / "upload_T1w.nii.gz"
    shutil.copy(scan, upload)
    run = cache.runner(upload)(ExpertRequest(read_volume(upload)), None)
    assert set(run.volumes) == set(Expert)
    assert not cache.work.exists()
    assert not cache.beside(upload)


def test_progress_is_logged_by_quarters(caplog):
    with caplog.at_level(logging.INFO, "revoxel.label.cache"):
        report = logged("sub-01")
        for step in range(101):
            report("SMORE", step / 100)
    assert [record.message for record in caplog.records] == [
        f"sub-01: SMORE {share} %" for share in (25, 50, 75, 100)
    ]
