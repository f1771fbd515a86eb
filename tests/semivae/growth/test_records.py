"""Visits are refused with the patient's name before any model sees them."""

import numpy as np
import pytest

from revoxel.semivae.growth.records import GrowthRecord, PaddedVisits, read_growth_csv

HEAD = "patient_id,time_years,volume_mm3\n"


def test_rows_in_any_order_become_sorted_visits(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_text(HEAD + "b,1,100\na,2.5,400\na,0.5,200\n")
    b, a = read_growth_csv(path)
    assert (b.patient_id, b.n_visits) == ("b", 1)
    np.testing.assert_allclose(a.times_years, (0.5, 2.5))
    np.testing.assert_allclose(a.since_first_years, (0.0, 2.0))
    np.testing.assert_allclose(np.exp(a.log_volumes), (200, 400))


WRONG = [
    ("patient_id,time_years\na,1\n", "none of .'volume_mm3'"),
    (HEAD, "only a head"),
    (HEAD + "a,1,0\n", "line 2 .patient 'a'.*got 1 years and 0"),
    (HEAD + "a,1,x\n", "got '1' and 'x'"),
    (HEAD + "a,1\n", "must be numbers"),
    (HEAD + "a,nan,5\n", "finite time"),
    (HEAD + ",1,5\n", "must have a patient"),
    (HEAD + "a,1,5\na,1,6\n", "patient 'a' must have strictly increasing"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_wrong_rows_are_named(tmp_path, text, words):
    path = tmp_path / "visits.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_growth_csv(path)


@pytest.mark.parametrize(
    ("times", "values", "words"),
    [([], [], "at least one visit"), ([0, 1], [1], "one volume per time"), ([0, 1], [1, np.inf], "finite")],
)
def test_wrong_record_names_its_patient(times, values, words):
    with pytest.raises(ValueError, match=f"patient 'p7'.*{words}"):
        GrowthRecord("p7", np.array(times, float), np.array(values, float))


def test_padding_marks_what_exists():
    records = [GrowthRecord("a", np.array([3.0, 4.0]), np.array([1.0, 2.0])), GrowthRecord("b", [5.0], [6.0])]
    visits = PaddedVisits.of(records)
    np.testing.assert_allclose(visits.exists, [[1, 1], [1, 0]])
    np.testing.assert_allclose(visits.times_years, [[0, 1], [0, 0]])
