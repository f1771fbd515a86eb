"""Growth models recover what a simulated cohort was made with, and say how sure they are."""

import numpy as np
import pytest

from revoxel.semivae.growth.curves import Curve, Law
from revoxel.semivae.growth.mixed import find_posterior
from revoxel.semivae.growth.models import (
    FittedMixed,
    Model,
    fit_population,
    is_growing,
    population_medians,
)
from revoxel.semivae.growth.records import GrowthRecord, PaddedVisits
from revoxel.semivae.growth.simulation import CohortSettings, simulate_cohort


@pytest.fixture(scope="module")
def cohort():
    return simulate_cohort(CohortSettings(n_patients=200, n_visits=6))


@pytest.fixture(scope="module")
def gompertz(cohort):
    return fit_population(Model.GOMPERTZ, cohort.records)


def straight_cohort(n_patients=60, seed=0):
    """y = y0 + g t, y0 ~ N(8, 0.8), g ~ N(0.2, 0.1), noise 0.05."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(n_patients):
        times = np.cumsum(rng.uniform(0.4, 1.2, 5))
        values = rng.normal(8, 0.8) + rng.normal(0.2, 0.1) * times + 0.05 * rng.standard_normal(5)
        records.append(GrowthRecord(f"s{number}", times, values))
    return records


PARAMETERS = {
    Law.EXPONENTIAL: (8.0, 0.3),
    Law.LINEAR: (8.0, -0.19),
    Law.GOMPERTZ: (8.0, -0.4, 1.7),
    Law.REDUCED_GOMPERTZ: (8.0, -0.4, 0.6),
}


@pytest.mark.parametrize("law", Law)
def test_derivatives_are_those_of_finite_differences(law):
    curve, theta = Curve(law, 10.0), np.array(PARAMETERS[law])
    times, step = np.array([0.0, 0.7, 2.5, 6.0]), 1e-6
    _, slopes = curve(times, theta)
    for at in range(len(theta)):
        moved = np.eye(len(theta))[at] * step
        difference = (curve(times, theta + moved)[0] - curve(times, theta - moved)[0]) / (2 * step)
        np.testing.assert_allclose(slopes[:, at], difference, rtol=1e-5, atol=1e-8)


@pytest.mark.reference
def test_gompertz_solves_its_equation():
    # dV/dt = alpha V ln(K / V), so dy/dt = alpha (ln K - y).
    curve, theta = Curve(Law.GOMPERTZ), np.array(PARAMETERS[Law.GOMPERTZ])
    times = np.linspace(0, 5, 2001)
    value, _ = curve(times, theta)
    slope = np.gradient(value, times, edge_order=2)
    np.testing.assert_allclose(slope, np.exp(theta[1]) * (curve.log_capacity(theta) - value), atol=1e-5)


def test_linear_law_is_linear_in_volume_and_stays_positive():
    curve = Curve(Law.LINEAR)
    value, _ = curve(np.array([0.0, 1.0, 2.0]), np.array([np.log(500.0), 0.5]))
    np.testing.assert_allclose(np.exp(value), (500, 750, 1000), rtol=1e-6)
    shrinking, slopes = curve(np.array([1.0, 50.0]), np.array([np.log(500.0), -0.5]))
    assert np.isfinite(shrinking).all()
    assert np.isfinite(slopes).all()


def test_only_a_gompertz_has_a_capacity():
    with pytest.raises(ValueError, match="Gompertz"):
        Curve(Law.LINEAR).log_capacity(np.zeros(2))


def test_population_medians_are_within_ten_percent(cohort, gompertz):
    alpha, capacity_mm3 = population_medians(gompertz.population)
    assert alpha == pytest.approx(np.median(cohort.alpha_per_year), rel=0.1)
    assert capacity_mm3 == pytest.approx(np.exp(np.median(cohort.log_capacity)), rel=0.1)
    assert gompertz.population.noise_sd == pytest.approx(0.05, rel=0.15)


def test_error_of_a_patient_is_near_the_cramer_rao_bound(cohort, gompertz):
    # With a prior of covariance C and noise s, no estimate has less mean error than the mean of
    # inv(J'J / s^2 + inv(C)), J at the true parameters (van Trees).
    visits, population = PaddedVisits.of(cohort.records), gompertz.population
    above = cohort.log_capacity - cohort.log_v0
    truth = np.stack((cohort.log_v0, np.log(cohort.alpha_per_year), np.log(np.expm1(above))), axis=1)
    _, slopes = population.curve(visits.times_years, truth)
    information = np.einsum("nmp,nmq->npq", slopes, slopes) / 0.05**2 + np.linalg.inv(population.covariance)
    bound = np.sqrt(np.linalg.inv(information)[:, 1, 1].mean())
    modes = find_posterior(population, visits).modes
    error = np.sqrt(np.mean((modes[:, 1] - truth[:, 1]) ** 2))
    assert 0.85 * bound < error < 1.15 * bound


def test_intervals_cover_what_they_promise_for_patients_not_fitted_on(gompertz):
    inside = []
    for record in simulate_cohort(CohortSettings(n_patients=600, seed=7)).records:
        low, high = np.percentile(gompertz.draws(record.first(5), record.times_years[-1:]), (2.5, 97.5))
        inside.append(low <= record.log_volumes[-1] <= high)
    assert 0.92 <= np.mean(inside) <= 0.98


@pytest.mark.parametrize(("n_patients", "n_visits"), [(12, 2), (12, 4)])
def test_intervals_of_a_small_cohort_hold_what_they_promise(n_patients, n_visits):
    # With the fit's variances taken as known: 0.88 of (12, 4).
    inside = []
    for seed in range(24):
        few = simulate_cohort(CohortSettings(n_patients, n_visits, seed=seed))
        fitted = fit_population(Model.GOMPERTZ, few.records)
        for record in simulate_cohort(CohortSettings(15, n_visits, seed=seed + 100)).records:
            shown, last = record.first(n_visits - 1), record.times_years[-1:]
            low, high = np.percentile(fitted.draws(shown, last), (2.5, 97.5))
            inside.append(low <= record.log_volumes[-1] <= high)
    assert 0.92 <= np.mean(inside) <= 0.985


@pytest.mark.reference
def test_straight_line_is_the_mixed_model_of_statsmodels():
    mixed_linear_model = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    records = straight_cohort(80)
    times = np.concatenate([record.since_first_years for record in records])
    values = np.concatenate([record.log_volumes for record in records])
    design = np.column_stack((np.ones_like(times), times))
    groups = np.repeat(np.arange(80), 5)
    reference = mixed_linear_model.MixedLM(values, design, groups, exog_re=design).fit(reml=False)
    ours = fit_population(Model.EXPONENTIAL, records).population
    np.testing.assert_allclose(ours.mean, reference.fe_params, atol=5e-3)
    np.testing.assert_allclose(np.diag(ours.covariance), np.diag(reference.cov_re), rtol=0.05)
    assert ours.noise_sd == pytest.approx(np.sqrt(reference.scale), rel=0.03)


def test_reduced_gompertz_finds_the_one_capacity():
    cohort = simulate_cohort(CohortSettings(n_patients=60, one_capacity=True, seed=1))
    fitted = fit_population(Model.REDUCED_GOMPERTZ, cohort.records)
    alpha, capacity_mm3 = population_medians(fitted.population)
    assert capacity_mm3 == pytest.approx(np.exp(cohort.log_capacity[0]), rel=0.1)
    assert alpha == pytest.approx(np.median(cohort.alpha_per_year), rel=0.1)
    largest = max(record.log_volumes.max() for record in cohort.records)
    assert fitted.population.curve.log_capacity(fitted.population.mean) > largest


def test_straight_line_is_recovered_with_its_spread():
    population = fit_population(Model.EXPONENTIAL, straight_cohort()).population
    assert population.mean[1] == pytest.approx(0.2, abs=0.04)
    assert np.sqrt(population.covariance[1, 1]) == pytest.approx(0.1, abs=0.03)
    assert population.noise_sd == pytest.approx(0.05, abs=0.01)


def test_linear_model_fits_volumes_that_grow_linearly():
    rng = np.random.default_rng(0)
    times = np.arange(5.0)
    records = [
        GrowthRecord(
            f"p{i}", times, np.log(900 * (1 + rng.lognormal(-1, 0.2) * times)) + 0.02 * rng.normal(size=5)
        )
        for i in range(30)
    ]
    fitted = fit_population(Model.LINEAR, records)
    middle = np.median(fitted.draws(records[0].first(4), times[4:]))
    assert middle == pytest.approx(records[0].log_volumes[-1], abs=0.1)


def test_persistence_keeps_the_last_volume_and_widens():
    fitted = fit_population(Model.PERSISTENCE, straight_cohort())
    draws = fitted.draws(GrowthRecord("p", np.zeros(1), np.full(1, 7.0)), np.array([1.0, 4.0]))
    np.testing.assert_allclose(np.median(draws, axis=0), 7.0, atol=0.01)
    assert draws[:, 1].std() > draws[:, 0].std()


def test_shrinking_patient_falls_back_to_the_straight_line(cohort):
    shrinking = GrowthRecord("down", np.array([0.0, 1.0, 2.0]), np.array([8.0, 7.9, 7.8]))
    fitted = fit_population(Model.GOMPERTZ, [*cohort.records[:20], shrinking])
    assert isinstance(fitted, FittedMixed)
    assert fitted.falls_back(shrinking)
    assert not is_growing(shrinking)
    straight = fit_population(Model.EXPONENTIAL, [*cohort.records[:20], shrinking])
    at_years = np.array([3.0])
    np.testing.assert_allclose(fitted.draws(shrinking, at_years), straight.draws(shrinking, at_years))


def test_one_visit_is_enough_for_a_forecast(gompertz):
    draws = gompertz.draws(
        GrowthRecord("new", np.array([2020.0]), np.array([8.0])), np.array([2021.0, 2025.0])
    )
    assert np.median(draws[:, 1]) > np.median(draws[:, 0]) > 8.0


def test_clock_of_a_patient_does_not_matter(gompertz, cohort):
    record = cohort.records[3]
    later = GrowthRecord("later", record.times_years + 2019.5, record.log_volumes)
    first, second = (gompertz.draws(one, one.times_years[-1:] + 1.0) for one in (record, later))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_too_few_patients_are_refused():
    with pytest.raises(ValueError, match="at least 4 patients"):
        fit_population(Model.PERSISTENCE, straight_cohort(3))
    flat = [GrowthRecord(f"p{i}", np.arange(3.0), np.full(3, 7.0)) for i in range(6)]
    with pytest.raises(ValueError, match="a growing tumour, got 0"):
        fit_population(Model.GOMPERTZ, flat)
