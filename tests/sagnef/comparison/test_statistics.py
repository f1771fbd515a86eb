"""Patients are the unit; few of them allow no claim."""

from __future__ import annotations

import numpy as np
import pytest

from revoxel.sagnef.comparison.statistics import MIN_PATIENTS, compare


def test_few_patients_get_single_values_and_a_sentence() -> None:
    result = compare({"a": [0.1, 0.3], "b": [-0.2]})
    assert result.gains_db == pytest.approx({"a": 0.2, "b": -0.2})
    assert result.mean_db == pytest.approx(0.0)
    assert result.interval_db is None
    assert result.p is None
    assert "no p value" in result.sentence
    assert "a +0.20, b -0.20" in result.sentence


@pytest.mark.reference
def test_p_value_of_six_equal_signs_is_that_of_the_sign_flips() -> None:
    """All of 2^6 sign flips: only the observed one and its mirror are as extreme, so p = 2/64."""
    result = compare({f"p{n}": [0.1 + 0.01 * n] for n in range(MIN_PATIENTS)})
    assert result.p == pytest.approx(2 / 64)


def test_interval_holds_the_mean_and_narrows_with_patients() -> None:
    rng = np.random.default_rng(0)
    few, many = (
        compare({f"p{n}": [gain] for n, gain in enumerate(rng.normal(0.2, 0.1, size))}) for size in (8, 80)
    )
    for result in (few, many):
        assert result.interval_db is not None
        assert result.interval_db[0] < result.mean_db < result.interval_db[1]
    assert np.ptp(many.interval_db) < np.ptp(few.interval_db)


def test_cases_of_one_patient_count_once() -> None:
    once = {f"p{n}": [float(n)] for n in range(8)}
    often = once | {"p7": [7.0] * 50}
    assert compare(often) == compare(once)


def test_same_seed_gives_the_same_numbers() -> None:
    gains = {f"p{n}": [gain] for n, gain in enumerate(np.random.default_rng(1).normal(size=9))}
    assert compare(gains, seed=3) == compare(gains, seed=3)


def test_equal_gains_have_an_interval_without_width() -> None:
    assert compare({f"p{n}": [0.5] for n in range(7)}).interval_db == (0.5, 0.5)


def test_no_patient_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one patient"):
        compare({})
