"""Finding scans and their companions by BIDS names."""

from __future__ import annotations

import json

import pytest

from asl_scans import TinyScan, head, write_image, write_joint
from revoxel.asl.scans.bids import (
    asl_fields,
    find_asl_files,
    find_m0,
    find_tissue,
    group_scans,
    read_context,
)


def test_sidecars_lie_beside_the_name_not_beside_what_a_link_leads_to(tmp_path):
    scan = TinyScan().write(tmp_path / "bids")
    stored = tmp_path / "bids" / ".git" / "annex" / "MD5E-s1.nii.gz"
    stored.parent.mkdir(parents=True)
    scan.rename(stored)
    scan.symlink_to(stored)
    assert asl_fields(scan)["ArterialSpinLabelingType"] == "PCASL"
    assert read_context(scan) is not None


def test_raw_scans_are_found_and_derivatives_left_alone(tmp_path):
    first = TinyScan().write(tmp_path)
    second = TinyScan(name="sub-02_ses-1_asl").write(tmp_path, "sub-02/ses-1/perf")
    TinyScan().write(tmp_path, "derivatives/other/sub-01/perf")
    assert find_asl_files(tmp_path) == [first, second]
    assert find_asl_files(second.parents[2]) == [second]
    assert find_asl_files(first.parent) == [first]


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold perf/\*_asl.nii.gz, got none; give a BIDS folder"):
        find_asl_files(tmp_path)


def test_the_nearest_sidecar_wins_and_the_general_one_fills_in(tmp_path):
    scan = TinyScan().write(tmp_path)
    (tmp_path / "asl.json").write_text(json.dumps({"PostLabelingDelay": 9, "Manufacturer": "M"}))
    (tmp_path / "sub-02_asl.json").write_text(json.dumps({"Manufacturer": "of another person"}))
    fields = asl_fields(scan)
    assert fields["Manufacturer"] == "M"
    assert fields["PostLabelingDelay"][0] == 0.5


def test_a_name_outside_bids_takes_its_own_sidecar_alone(tmp_path):
    scan = write_image(tmp_path / "scan.nii.gz", head())
    (tmp_path / "other_asl.json").write_text("{}")
    assert asl_fields(scan) == {}
    (tmp_path / "scan.json").write_text('{"PostLabelingDelay": 1.5}')
    assert asl_fields(scan) == {"PostLabelingDelay": 1.5}


@pytest.mark.parametrize(("text", "words"), [("{", "valid JSON"), ("[]", "JSON object, got list")])
def test_a_broken_sidecar_is_named(tmp_path, text, words):
    scan = TinyScan().write(tmp_path)
    scan.with_name("sub-01_asl.json").write_text(text)
    with pytest.raises(ValueError, match=f"sub-01_asl.json must .*{words}"):
        asl_fields(scan)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type\ncontrol\n", "must have a column volume_type"),
        ("volume_type\n", "must have a column volume_type, got no rows"),
        ("volume_type\ncontrol\ntag\n", "volume_type must be one of control, label, .*got tag"),
    ],
)
def test_a_broken_volume_list_is_named(tmp_path, text, words):
    scan = TinyScan().write(tmp_path)
    scan.with_name("sub-01_aslcontext.tsv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_context(scan)


def test_the_m0_scan_with_the_closest_name_is_taken(tmp_path):
    scan = TinyScan(name="sub-01_run-2_asl", m0_name="sub-01_run-2_m0scan").write(tmp_path)
    TinyScan(name="sub-01_run-1_asl", m0_name="sub-01_run-1_m0scan").write(tmp_path)
    assert find_m0(scan).name == "sub-01_run-2_m0scan.nii.gz"


def test_the_m0_scan_that_is_intended_wins(tmp_path):
    scan = TinyScan().write(tmp_path)
    meant = {"IntendedFor": "bids::sub-01/perf/sub-01_asl.nii.gz"}
    TinyScan(name="sub-01_acq-b_asl", m0_name="sub-01_acq-b_m0scan", m0_fields=meant).write(tmp_path)
    assert find_m0(scan).name == "sub-01_acq-b_m0scan.nii.gz"


def test_without_one_fitting_m0_scan_nothing_is_guessed(tmp_path):
    scan = TinyScan().write(tmp_path)
    write_image(scan.with_name("sub-01_acq-b_m0scan.nii.gz"), head())
    write_image(scan.with_name("sub-01_acq-c_m0scan.nii.gz"), head())
    (scan.with_name("sub-01_m0scan.nii.gz")).unlink()
    with pytest.raises(ValueError, match=r"M0Type of sub-01_asl.nii.gz is Separate, .*acq-b.*pass --m0"):
        find_m0(scan)
    for file in scan.parent.glob("*m0scan.nii.gz"):
        file.unlink()
    with pytest.raises(ValueError, match="got none"):
        find_m0(scan)


def test_tissue_maps_of_the_same_visit_in_scanner_space_are_found(tmp_path):
    scan = TinyScan(name="sub-01_ses-1_asl").write(tmp_path, "sub-01/ses-1/perf")
    anat = tmp_path / "derivatives" / "prep" / "sub-01" / "ses-1" / "anat"
    anat.mkdir(parents=True)
    write_image(anat / "sub-01_ses-1_space-MNI_label-GM_probseg.nii.gz", head())
    write_image(anat / "sub-01_ses-2_label-GM_probseg.nii.gz", head())
    assert find_tissue(scan, "GM") is None
    mine = write_image(anat / "sub-01_ses-1_label-GM_probseg.nii.gz", head())
    assert find_tissue(scan, "GM") == mine
    assert find_tissue(scan, "WM") is None


def test_pcasl_and_vsasl_of_a_session_belong_together(tmp_path):
    files = write_joint(tmp_path)
    (group,) = group_scans(files[::-1])
    assert group.stem == "sub-01"
    assert list(group.files) == ["PCASL", "VSASL"]


def test_scans_of_one_kind_stay_apart(tmp_path):
    files = [TinyScan(name=f"sub-01_acq-{name}_asl").write(tmp_path) for name in "ab"]
    assert [group.stem for group in group_scans(files)] == ["sub-01_acq-a", "sub-01_acq-b"]


def test_equal_names_of_results_are_refused(tmp_path):
    files = [TinyScan().write(tmp_path / place) for place in "ab"]
    with pytest.raises(ValueError, match="distinct names, got sub-01 more than once"):
        group_scans(files)
