"""Names and sidecars state the pulse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from revoxel.core.pulse_names import pulse_of, without_pulse
from revoxel.core.pulses import Pulse


@pytest.mark.parametrize(
    ("name", "pulse"),
    [
        ("BraTS-GLI-00001-000-t1c.nii.gz", Pulse.t1c),
        ("BraTS-GLI-00001-000-t1n.nii.gz", Pulse.t1n),
        ("BraTS21_0001_t1ce.nii.gz", Pulse.t1c),
        ("BraTS-MEN-00004-000-t2f.nii", Pulse.t2f),
        ("sub-01_ce-gadolinium_T1w.nii.gz", Pulse.t1c),
        ("sub-01_ses-2_T1w.nii.gz", Pulse.t1n),
        ("sub-01_T2w.nrrd", Pulse.t2w),
        ("sub-01_FLAIR.mha", Pulse.t2f),
        ("TCGA-FG-6692_T1POST.nii.gz", Pulse.t1c),
        ("TCGA-FG-6692_t1.nii.gz", Pulse.t1n),
        ("TCGA-FG-6692_T1Gd.nii.gz", Pulse.t1c),
        ("patient_T2_FLAIR.nii.gz", Pulse.t2f),
        ("t1-post.nii.gz", Pulse.t1c),
    ],
)
def test_pulse_is_read_from_common_names(name: str, pulse: Pulse) -> None:
    assert pulse_of(Path(name)) is pulse


def test_pulse_is_read_from_the_sidecar_when_the_name_is_silent(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text(
        json.dumps({"SeriesDescription": "AX T1 SE", "ContrastBolusAgent": "Gadovist"})
    )
    assert pulse_of(tmp_path / "scan.nii.gz") is Pulse.t1c


def test_requested_pulse_wins_over_the_name() -> None:
    assert pulse_of(Path("scan_t1.nii.gz"), "t2w") is Pulse.t2w


@pytest.mark.parametrize("name", ["scan.nii.gz", "t1_and_t2.nii.gz"])
def test_silent_or_ambiguous_name_lists_the_choices(name: str) -> None:
    with pytest.raises(ValueError, match=r"--pulse with one of: .*t1c.*t2w"):
        pulse_of(Path(name))


def test_unknown_pulse_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"t1c.*got 'dwi'"):
        pulse_of(Path("scan_t1.nii.gz"), "dwi")


def test_half_written_sidecar_is_named(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text('{"SeriesDescription": ')
    with pytest.raises(ValueError, match=r"scan\.json must be valid JSON"):
        pulse_of(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("BraTS-GLI-00001-000-t1c.nii.gz", "BraTS-GLI-00001-000"),
        ("sub-01_ses-2_ce-gadolinium_T1w.nii.gz", "sub-01_ses-2"),
        ("patient_T2_FLAIR.nii.gz", "patient"),
        ("scan.nii.gz", "scan"),
        ("t1c.nii.gz", "t1c"),
    ],
)
def test_scans_of_a_visit_share_their_name_without_the_pulse(name: str, shared: str) -> None:
    assert without_pulse(Path(name)) == shared


def test_further_words_at_the_end_are_left_out_on_request() -> None:
    assert without_pulse(Path("p1-seg.nii.gz"), {"seg"}) == "p1"
