"""Schedules: where they start, rise and end, whatever the unit."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from revoxel.semivae.objective.schedules import Schedule, cosine, cyclical, exp_normalised, linear

RISES = [linear, cosine, exp_normalised]


@pytest.mark.parametrize("rise", [*RISES, cyclical])
def test_weight_is_zero_before_the_start_and_the_target_from_the_end_on(rise):
    assert rise(9.99, 10, 20, 3.0) == 0
    assert rise(30, 10, 20, 3.0) == pytest.approx(3.0)
    assert rise(1e6, 10, 20, 3.0) == pytest.approx(3.0)


@pytest.mark.parametrize("rise", [*RISES, cyclical])
def test_length_of_zero_is_a_step(rise):
    assert rise(0.39, 0.4, 0.0, 2.0) == 0
    assert rise(0.4, 0.4, 0.0, 2.0) == 2


@pytest.mark.parametrize("rise", RISES)
@given(first=st.floats(0, 40), second=st.floats(0, 40), scale=st.floats(0.01, 100))
def test_rise_is_monotone_and_has_no_unit(rise, first, second, scale):
    low, high = sorted((first, second))
    assert rise(low, 10, 20) <= rise(high, 10, 20)
    if 10.001 < low < 29.999:
        assert rise(scale * low, scale * 10, scale * 20) == pytest.approx(rise(low, 10, 20), abs=1e-6)


def test_halfway_values_are_those_of_the_formulas():
    assert linear(20, 10, 20) == pytest.approx(0.5)
    assert cosine(15, 10, 20) == pytest.approx(0.5 * (1 - 0.5**0.5))
    # (1 - e^-2.5) / (1 - e^-5) = 0.917915 / 0.993262.
    assert exp_normalised(20, 10, 20) == pytest.approx(0.924142, abs=1e-6)


def test_cosine_starts_flat_and_the_exponential_steep():
    step = 1e-4
    assert cosine(step, 0, 1) < 0.01 * step
    assert exp_normalised(step, 0, 1) == pytest.approx(5 * step / 0.993262, rel=1e-3)


def test_cycles_rise_anew_and_stay():
    values = [cyclical(x, 0, 8, 2.0, cycles=2, ratio=0.5) for x in (0, 1, 2, 3, 4, 5, 7, 8)]
    assert values == pytest.approx([0, 1, 2, 2, 0, 1, 2, 2])


@pytest.mark.parametrize(
    ("shape", "rise"), [("linear", linear), ("cosine", cosine), ("exp_normalised", exp_normalised)]
)
def test_configured_schedule_is_the_function(shape, rise):
    assert Schedule(shape, 0.1, 0.2, 5.0)(0.17) == rise(0.17, 0.1, 0.2, 5.0)


def test_configured_cycles_are_the_function():
    schedule = Schedule("cyclical", 0.0, 1.0, 2.0, cycles=3, ratio=0.25)
    assert schedule(0.4) == cyclical(0.4, 0.0, 1.0, 2.0, cycles=3, ratio=0.25)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": "step"},
        {"start": -0.1},
        {"length": -1.0},
        {"target": -1.0},
        {"cycles": 0},
        {"ratio": 0.0},
        {"ratio": 2.0},
    ],
    ids=str,
)
def test_impossible_schedule_is_refused(wrong):
    with pytest.raises(ValueError, match="schedule must have"):
        Schedule(**wrong)
