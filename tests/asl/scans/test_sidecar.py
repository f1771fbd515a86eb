"""Fields of a sidecar: what users get wrong is named with its value and what to do."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revoxel.asl.scans.sidecar import AslSidecar, parse_m0_sidecar, parse_sidecar

GOOD = {"ArterialSpinLabelingType": "PCASL", "PostLabelingDelay": 1.8, "M0Type": "Separate"}


def test_a_number_holds_for_every_volume():
    assert parse_sidecar(GOOD, "x").plds_s == (1.8,)
    assert parse_sidecar(GOOD | {"PostLabelingDelay": [0, 1]}, "x").plds_s == (0.0, 1.0)


def test_unknown_fields_are_no_error():
    assert parse_sidecar(GOOD | {"Manufacturer": "X"}, "x").m0_type == "Separate"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("PostLabelingDelay", 1800, "PostLabelingDelay must be in seconds, 0 to 10, got 1800; .* write 1.8"),
        ("PostLabelingDelay", [0, 2000], "PostLabelingDelay must be in seconds, 0 to 10, got 2000"),
        ("PostLabelingDelay", -1, "PostLabelingDelay must be in seconds, 0 to 10, got -1"),
        ("PostLabelingDelay", "1.8", "PostLabelingDelay must be a number or a list of numbers, got '1.8'"),
        ("PostLabelingDelay", [], "PostLabelingDelay must be a number or a list of numbers"),
        ("LabelingDuration", 1800, "LabelingDuration must be in seconds, 0 to 10, got 1800"),
        ("RepetitionTimePreparation", 4500, "RepetitionTimePreparation must be in seconds"),
        ("RepetitionTimePreparation", 0, "RepetitionTimePreparation must be > 0 s, got 0; .*--m0-tr-ms"),
        ("RepetitionTimePreparation", -2, "RepetitionTimePreparation must be in seconds, 0 to 10, got -2"),
        ("SliceTiming", [0, 40], "SliceTiming must be in seconds, 0 to 10, got 40"),
        ("BolusCutOffDelayTime", 700, "BolusCutOffDelayTime must be in seconds"),
        (
            "ArterialSpinLabelingType",
            "PICORE",
            "ArterialSpinLabelingType must be one of PCASL, .*'PICORE'; .*--labelling",
        ),
        (
            "M0Type",
            "Somewhere",
            "M0Type must be one of Separate, .*, Absent, got 'Somewhere'",
        ),
        ("LabelingEfficiency", 85, r"LabelingEfficiency must be > 0 and <= 1, got 85; enter a fraction"),
        ("LabelingEfficiency", 0, "LabelingEfficiency must be > 0 and <= 1, got 0"),
        ("SliceEncodingDirection", "z", "SliceEncodingDirection is wrong .*got 'z'"),
        ("M0Estimate", -1, "M0Estimate is wrong .*got -1"),
    ],
)
def test_a_wrong_value_is_named(field, value, words):
    with pytest.raises(ValueError, match=f"^sub-01_asl.json: {words}"):
        parse_sidecar(GOOD | {field: value}, "sub-01_asl.json")


@pytest.mark.parametrize("field", list(GOOD))
def test_a_missing_field_is_named_with_the_option_that_replaces_it(field):
    with pytest.raises(ValueError, match=f"{field} must be given, got nothing; .*--"):
        parse_sidecar({name: value for name, value in GOOD.items() if name != field}, "x")


def test_an_m0_scan_without_time_to_recover_is_refused():
    with pytest.raises(ValueError, match=r"m0.json: RepetitionTimePreparation must be > 0 s, got 0"):
        parse_m0_sidecar({"RepetitionTimePreparation": 0}, "m0.json")
    assert parse_m0_sidecar({}, "m0.json").trs_s == ()


NAMES = [field.alias for field in AslSidecar.model_fields.values()]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES | st.just(10**400), max_size=4))
def test_whatever_a_sidecar_holds_is_read_or_explained(fields):
    with contextlib.suppress(ValueError):
        sidecar = parse_sidecar(GOOD | fields, "x")
        assert all(0 <= time <= 10 for time in (*sidecar.plds_s, *sidecar.trs_s, *sidecar.slice_times_s))
