"""Features are scored one by one, where they are known, with intervals over patients."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from revoxel.semivae.diagnosis.regression import bootstrap_interval, feature_scores, mean_known, r2_masked


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 3))
    known = rng.random((30, 3)) < 0.7
    return truth, truth + 0.5 * rng.normal(size=(30, 3)), known


@pytest.mark.reference
def test_scores_are_those_of_scikit_learn_and_scipy_on_the_known_values(pair):
    truth, predicted, known = pair
    scores = feature_scores(truth, predicted, known)
    for index in range(3):
        y, guess = (values[known[:, index], index] for values in (truth, predicted))
        assert scores["r2"][index] == pytest.approx(r2_score(y, guess))
        assert scores["pearson"][index] == pytest.approx(stats.pearsonr(y, guess).statistic)
        assert scores["rmse"][index] == pytest.approx(np.sqrt(np.mean((y - guess) ** 2)))


def test_what_is_not_known_changes_nothing(pair):
    truth, predicted, known = pair
    spoilt = np.where(known, truth, np.nan)
    np.testing.assert_array_equal(r2_masked(spoilt, predicted, known), r2_masked(truth, predicted, known))


def test_constant_or_rare_features_have_no_r2():
    truth = np.column_stack([np.ones(10), np.arange(10.0)])
    known = np.column_stack([np.ones(10, bool), np.arange(10) < 2])
    assert np.isnan(r2_masked(truth, truth, known)).all()
    assert np.isnan(mean_known(np.array([np.nan])))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        r2_masked(np.zeros((3, 2)), np.zeros((3, 1)), np.ones((3, 2), bool))


def test_interval_is_wider_when_visits_are_of_few_patients():
    values = np.repeat(np.random.default_rng(1).normal(size=12), 5)
    few = np.repeat(np.arange(12), 5).astype(str)

    def width(patients):
        low, high = bootstrap_interval(lambda rows: values[rows].mean(), list(patients))
        return high - low

    assert width(few) > 1.7 * width(np.arange(60).astype(str))


def test_interval_of_a_mean_covers_its_standard_error():
    values = np.random.default_rng(2).normal(size=200)
    low, high = bootstrap_interval(lambda rows: values[rows].mean(), [str(row) for row in range(200)])
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.1)


def test_interval_of_one_patient_is_refused():
    with pytest.raises(ValueError, match="at least 2 patients"):
        bootstrap_interval(lambda rows: 0.0, ["p", "p"])
