"""Sidecar, volume list and images are checked against each other; what is doubtful is noted."""

from __future__ import annotations

import pytest

from asl_scans import SHAPE, TinyScan, head, write_image
from revoxel.asl.scans.metadata import describe
from revoxel.asl.scans.series import Labelling, M0Type
from revoxel.asl.scans.stated import Stated

N_VOLUMES = 12


def described(tmp_path, stated=None, **changes):
    return describe(TinyScan(**changes).write(tmp_path), (N_VOLUMES, *SHAPE), stated or Stated())


def test_seconds_become_ms(tmp_path):
    series = described(tmp_path)
    assert series.delays[2].pld_ms == 1000.0
    assert series.delays[2].duration_ms == 1800.0
    assert series.n_bs_pulses == 0
    assert series.notes == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"PostLabelingDelay": [1, 2, 3]},
            "PostLabelingDelay must be one number or one per volume, got 3",
        ),
        (
            {"LabelingDuration": [1.8] * 5},
            "LabelingDuration must be one number or one per volume, got 5",
        ),
        ({"LabelingDuration": None}, "LabelingDuration must be given for PCASL, .*--labelling-durations-ms"),
        ({"LabelingDuration": 0}, "LabelingDuration must be > 0 s for every image, got 0"),
        ({"M0Type": "Absent"}, "M0Type is Absent, so M0 must be given, got none; pass --m0 FILE"),
        ({"M0Type": "Estimate"}, "M0Type is Estimate, so M0Estimate must be given, got nothing"),
        ({"M0Type": "Included"}, "M0Type is Included, so a volume must be m0scan, got none"),
        ({"SliceTiming": [0, 0.1]}, "SliceTiming must have one time per slice, got 2 for 4 slices along k"),
    ],
)
def test_a_field_that_contradicts_the_scan_is_named(tmp_path, fields, words):
    with pytest.raises(ValueError, match=f"sub-01_asl.nii.gz: {words}"):
        described(tmp_path, fields=fields)


@pytest.mark.parametrize("value", [None, 0])
def test_pasl_needs_the_end_of_its_bolus(tmp_path, value):
    with pytest.raises(ValueError, match=r"BolusCutOffDelayTime must be given for PASL, got .*--bolus-ms"):
        described(tmp_path, labelling="PASL", fields={"BolusCutOffDelayTime": value})
    assert described(tmp_path, Stated(bolus_ms=650.0), labelling="PASL").bolus_ms == 650.0


def test_rows_of_the_volume_list_must_be_those_of_the_image(tmp_path):
    with pytest.raises(ValueError, match="must have one row per volume, got 10 rows for 12 volumes"):
        described(tmp_path, types=("control", "label") * 5)


def test_vsasl_is_read_with_a_word_about_bids(tmp_path):
    series = described(tmp_path, labelling="VSASL")
    assert series.labelling is Labelling.VSASL
    assert "VSASL is an extension; BIDS knows CASL, PCASL and PASL alone" in series.notes[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"BackgroundSuppression": True}, "BackgroundSuppressionNumberPulses is not given"),
        ({"BackgroundSuppression": None}, "BackgroundSuppression is not given and taken as off"),
        ({"LookLocker": True}, "LookLocker"),
        ({"MagneticFieldStrength": 5}, "MagneticFieldStrength 5 T has no usual T1"),
        ({"TotalAcquiredPairs": 7}, "TotalAcquiredPairs is 7, but the file holds 6 pairs"),
    ],
)
def test_what_is_doubtful_is_noted(tmp_path, fields, words):
    (note,) = described(tmp_path, fields=fields).notes
    assert words in note


def test_an_efficiency_that_is_stated_settles_the_suppression(tmp_path):
    fields = {"BackgroundSuppression": True}
    assert described(tmp_path, Stated(alpha=0.7), fields=fields).notes == ()
    assert described(tmp_path, fields=fields | {"LabelingEfficiency": 0.7}).notes == ()


def test_volumes_that_are_of_no_use_are_noted(tmp_path):
    series = described(
        tmp_path, types=("control", "label") * 5 + ("cbf", "noRF"), fields={"TotalAcquiredPairs": 5}
    )
    assert series.notes == ("sub-01_asl.nii.gz: volumes of type cbf, noRF are not used.",)


@pytest.mark.parametrize(("direction", "expected"), [("k", (0, 30, 60, 90)), ("k-", (90, 60, 30, 0))])
def test_slice_times_follow_the_direction(tmp_path, direction, expected):
    fields = {"SliceTiming": [0.05, 0.08, 0.11, 0.14], "SliceEncodingDirection": direction}
    assert described(tmp_path, fields=fields).slice_times_ms == expected


def test_equal_slice_times_are_none(tmp_path):
    assert described(tmp_path, fields={"SliceTiming": [0.2] * 4}).slice_times_ms == ()


def test_the_repetition_time_of_included_m0_is_that_of_its_volumes(tmp_path):
    types = ("m0scan", "m0scan", *("control", "label") * 5)
    times = {"RepetitionTimePreparation": [8.0, 6.0, *[4.0] * 10]}
    fields = {"M0Type": "Included", "PostLabelingDelay": 1.5, **times}
    assert described(tmp_path, types=types, fields=fields).tr_ms == 7000.0


def test_a_user_replaces_the_sidecar(tmp_path):
    stated = Stated(labelling=Labelling.CASL, plds_ms=(1200.0,), m0=1000.0, m0_tr_ms=4000.0)
    series = described(tmp_path, stated, fields={"PostLabelingDelay": 1800, "M0Type": "nowhere"})
    assert (series.labelling, series.delays[0].pld_ms, series.m0_type) == (
        Labelling.CASL,
        1200.0,
        M0Type.GIVEN,
    )


def test_plain_files_need_only_what_the_user_states(tmp_path):
    scan = write_image(tmp_path / "dm.nii.gz", head())
    stated = Stated(plds_ms=(500.0, 900.0), labelling_durations_ms=(1800.0,), m0=1.0, already_subtracted=True)
    series = describe(scan, (2, *SHAPE), stated)
    assert [delay.pld_ms for delay in series.delays] == [500.0, 900.0]
    assert series.labelling is Labelling.PCASL
    with pytest.raises(ValueError, match="LabelingDuration must be given"):
        describe(scan, (2, *SHAPE), Stated(plds_ms=(500.0, 900.0), m0=1.0, already_subtracted=True))
    with pytest.raises(ValueError, match="ArterialSpinLabelingType must be given"):
        describe(scan, (2, *SHAPE), Stated(already_subtracted=True))


@pytest.mark.parametrize(("label_first", "first"), [(False, "control"), (True, "label")])
def test_plain_pairs_alternate_and_take_one_delay_each(tmp_path, label_first, first):
    scan = write_image(tmp_path / "pairs.nii.gz", head())
    stated = Stated(plds_ms=(500.0, 900.0), labelling_durations_ms=(1800.0,), m0=1.0, label_first=label_first)
    series = describe(scan, (4, *SHAPE), stated)
    assert series.volume_types[0] == first
    assert [delay.pld_ms for delay in series.delays] == [500.0, 500.0, 900.0, 900.0]
    with pytest.raises(ValueError, match=r"must come with an aslcontext.tsv, or hold pairs, got 5 volumes"):
        describe(scan, (5, *SHAPE), stated)
