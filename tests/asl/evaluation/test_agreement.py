import numpy as np
import pytest

from revoxel.asl.evaluation.agreement import auroc, in_vivo_agreement, linearity, reduced_chi_square
from revoxel.asl.physics import AslPhysics, signal
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL

LEVELS = np.arange(10.0, 151.0, 10.0)


def test_proportional_estimates_are_linear():
    assert linearity(LEVELS, LEVELS) == pytest.approx({"slope": 1.0, "max_deviation": 0.0})


def test_lost_amplitude_is_seen():
    found = linearity(LEVELS, np.full_like(LEVELS, 50))
    assert found["slope"] == pytest.approx(0, abs=1e-9)
    assert found["max_deviation"] == pytest.approx(4)


def test_linearity_needs_levels():
    with pytest.raises(ValueError, match="two levels"):
        linearity(LEVELS[:1], LEVELS[:1])


@pytest.mark.reference
def test_icc_is_that_of_the_textbook():
    # Shrout and Fleiss 1979, table 2, raters 1 and 3. Mean squares by hand: rows 7.6833, columns 36.75,
    # error 2.35; ICC(A,1) = (7.6833 - 2.35) / (7.6833 + 2.35 + 2 (36.75 - 2.35) / 6).
    first, third = np.array([9.0, 6, 8, 7, 10, 6]), np.array([5.0, 3, 6, 2, 6, 4])
    rows = 2 * np.var((first + third) / 2) * 6 / 5
    columns = 6 * ((first.mean() - third.mean()) / 2) ** 2 * 2
    error = np.var(first - third, ddof=1) / 2
    expected = (rows - error) / (rows + error + 2 * (columns - error) / 6)
    found = in_vivo_agreement(first, third, np.ones(6, bool))
    assert found["icc"] == pytest.approx(expected)
    assert found["icc"] < found["pearson"]


def test_a_constant_difference_keeps_the_correlation_and_lowers_the_icc():
    values = np.random.default_rng(0).normal(50, 10, 500)
    found = in_vivo_agreement(values + 27, values, np.ones(500, bool))
    assert found["pearson"] == pytest.approx(1)
    assert found["mean_difference"] == pytest.approx(27)
    assert found["icc"] < 0.4


def test_limits_hold_95_percent_of_the_differences():
    rng = np.random.default_rng(0)
    first, second = rng.normal(50, 10, 4000), rng.normal(50, 10, 4000)
    found = in_vivo_agreement(first, second, np.ones(4000, bool))
    inside = (first - second > found["limits_low"]) & (first - second < found["limits_high"])
    assert inside.mean() == pytest.approx(0.95, abs=0.01)
    assert found["icc"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("n_inside", [0, 2])
def test_agreement_needs_voxels(n_inside):
    mask = np.arange(6) < n_inside
    with pytest.raises(ValueError, match="3 finite voxels"):
        in_vivo_agreement(np.arange(6.0), np.arange(6.0), mask)


def test_agreement_needs_maps_of_one_shape():
    with pytest.raises(ValueError, match="one shape"):
        in_vivo_agreement(np.zeros(6), np.zeros(5), np.ones(6, bool))


def test_chi_square_is_one_for_the_model_and_more_for_wrong_constants():
    # With the true maps nothing was fitted: 12 squares of mean 1 over 10 degrees of freedom.
    rng = np.random.default_rng(0)
    cbf, att = np.full(3000, 60.0), np.full(3000, 1300.0)
    clean, sigma = signal(cbf, att, JOINT_PROTOCOL), 5e-4
    dm = clean + sigma * rng.standard_normal(clean.shape)
    assert reduced_chi_square(dm, (cbf, att), sigma, JOINT_PROTOCOL).mean() == pytest.approx(1.2, abs=0.03)
    wrong = reduced_chi_square(dm, (cbf, att), sigma, JOINT_PROTOCOL, AslPhysics(alpha_vsasl=0.4))
    assert wrong.mean() > 5


def test_auroc_tells_apart_what_differs_only():
    rng = np.random.default_rng(0)
    unusual = np.arange(4000) % 2 == 0
    assert auroc(np.where(unusual, 2.0, 1.0), unusual) == 1
    assert auroc(np.where(unusual, 1.0, 2.0), unusual) == 0
    assert auroc(np.ones(4000), unusual) == 0.5
    assert auroc(rng.normal(size=4000), unusual) == pytest.approx(0.5, abs=0.03)


def test_auroc_needs_both_kinds():
    with pytest.raises(ValueError, match="both kinds"):
        auroc(np.ones(4), np.zeros(4, bool))
