"""Delays: checked, in order, and back from plain numbers."""

import numpy as np
import pytest

from revoxel.asl.protocol import AslProtocol

JOINT = AslProtocol((500, 1500), (1000, 1800), (700,), (900, 2000), 800)


def test_one_labelling_duration_serves_all_delays():
    assert AslProtocol((500, 1000), 1800).durations_ms == (1800.0, 1800.0)
    assert AslProtocol((500, 1000), np.float32(1800)).durations_ms == (1800.0, 1800.0)


@pytest.mark.parametrize("durations", [[1000, 1800], (1000.0, 1800.0), np.array([1000, 1800])])
def test_labelling_durations_may_differ(durations):
    assert AslProtocol((500, 500), durations).durations_ms == (1000.0, 1800.0)


def test_channels_are_counted_and_named_in_order():
    assert JOINT.n_channels == 5 == len(JOINT.labels)
    assert JOINT.labels[0] == "PCASL LD 1000 PLD 500 ms"
    assert JOINT.labels[2] == "PASL TI 900 ms"
    assert JOINT.labels[4] == "VSASL PLD 700 ms"


def test_kinks_are_all_delays_and_all_ends_of_delivery():
    assert JOINT.kinks_ms == (100.0, 500.0, 700.0, 900.0, 1200.0, 1500.0, 2000.0, 3300.0)


def test_later_slice_has_longer_delays():
    later = JOINT.later(35.5)
    assert later.pcasl_plds_ms == (535.5, 1535.5)
    assert later.pasl_tis_ms == (935.5, 2035.5)
    assert later.vsasl_plds_ms == (735.5,)
    assert (later.durations_ms, later.pasl_bolus_ms) == (JOINT.durations_ms, JOINT.pasl_bolus_ms)


def test_protocol_returns_from_its_plain_numbers():
    assert AslProtocol(**JOINT.as_dict()) == JOINT
    assert AslProtocol(**AslProtocol(vsasl_plds_ms=(800,)).as_dict()).durations_ms == ()


def test_test_scan_with_one_duration_per_delay_is_accepted():
    """Durations 100, 100, 150, 150, 400, 800, 1800 ms: PLDs ascend together with them."""
    plds = (170, 270, 370, 520, 670, 1070, 1870)
    assert AslProtocol(plds, (100, 100, 150, 150, 400, 800, 1800)).n_channels == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a protocol must have a delay, got none"),
        ({"pcasl_plds_ms": (1000, 500)}, r"\(labelling duration, PLD\) must be unique and ascending"),
        ({"pcasl_plds_ms": (500, 500)}, r"\(labelling duration, PLD\) must be unique and ascending"),
        ({"vsasl_plds_ms": (500, 500)}, "vsasl_plds_ms must be unique and ascending"),
        ({"pasl_tis_ms": (900, 500), "pasl_bolus_ms": 700}, "pasl_tis_ms must be unique and ascending"),
        ({"pasl_tis_ms": (900,)}, "pasl_bolus_ms must be given for PASL, got None"),
        ({"pasl_tis_ms": (900,), "pasl_bolus_ms": -1}, "pasl_bolus_ms must be given for PASL, got -1"),
        ({"pcasl_plds_ms": (-5,)}, "pcasl_plds_ms must lie between 0 and 10000 ms"),
        ({"pcasl_plds_ms": (float("nan"),)}, "pcasl_plds_ms must lie between 0 and 10000 ms"),
        ({"vsasl_plds_ms": (20_000,)}, "vsasl_plds_ms must lie between 0 and 10000 ms"),
        (
            {"pcasl_plds_ms": (500, 900), "pcasl_labelling_durations_ms": (1800,)},
            r"pcasl_labelling_durations_ms must be one number or one per PLD \(2\)",
        ),
        (
            {"pcasl_plds_ms": (500,), "pcasl_labelling_durations_ms": 0},
            "pcasl_labelling_durations_ms must be one number .* above 0",
        ),
    ],
)
def test_impossible_delays_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AslProtocol(**arguments)
