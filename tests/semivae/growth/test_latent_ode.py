"""The latent growth equation is Gompertz without its correction, and reads places where they are known."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from revoxel.semivae.growth.curves import Curve, Law
from revoxel.semivae.growth.latent_ode import LatentGrowthODE, as_equation
from revoxel.semivae.growth.mixed import Population
from revoxel.semivae.growth.models import Model, fit_population
from revoxel.semivae.growth.records import GrowthRecord
from revoxel.semivae.growth.scores import crps, difference_interval
from revoxel.semivae.growth.simulation import CohortSettings, simulate_cohort

pytest.importorskip("torchdiffeq")
FLOOR = 10.0


@pytest.fixture(scope="module")
def records():
    return simulate_cohort(CohortSettings(12, 3, location_effect=0.6)).records


def equation(records, eps_per_year=0.5):
    return LatentGrowthODE.of(records, FLOOR, eps_per_year)


def parameters(curve, n_rows, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((n_rows, len(curve.names))) * 0.5
    theta[:, 0] += 8
    return theta


@pytest.mark.reference
@pytest.mark.parametrize("alpha_per_year", [0.2, 1.0, 4.0])
def test_without_correction_it_is_the_closed_form(records, alpha_per_year):
    gompertz = Population(
        Curve(Law.REDUCED_GOMPERTZ, FLOOR),
        np.array([8.0, np.log(alpha_per_year), 0.7]),
        np.diag([0.5, 0.1]),
        np.array(0.05),
    )
    curve = equation(records, eps_per_year=0.0)
    population = as_equation(gompertz, curve)
    times = np.array([[0.0, 0.3, 1.7, 6.0], [0.2, 0.9, 4.0, 9.0]])
    closed, slopes = gompertz.curve(times, np.tile(gompertz.mean, (2, 1)))
    curve = replace(curve, latents=curve.latents[:2])
    solved, sensitivity = curve(times, np.tile(population.mean, (2, 1)))
    np.testing.assert_allclose(solved, closed, atol=4e-5)
    np.testing.assert_allclose(sensitivity[..., [0, 2]], slopes[..., [0, 2]], atol=2e-4)
    scale = np.sqrt(population.covariance[1, 1] / gompertz.covariance[1, 1])
    np.testing.assert_allclose(sensitivity[..., 1] * scale, slopes[..., 1], atol=1e-3)


def test_derivatives_are_those_of_finite_differences(records):
    curve = equation(records)
    theta, times, step = parameters(curve, 12), np.array([0.0, 0.7, 2.5]), 1e-6
    _, slopes = curve(times, theta)
    for at in range(theta.shape[1]):
        moved = np.eye(theta.shape[1])[at] * step
        difference = (curve(times, theta + moved)[0] - curve(times, theta - moved)[0]) / (2 * step)
        np.testing.assert_allclose(slopes[..., at], difference, rtol=1e-4, atol=1e-6)


def test_batch_equals_singles(records):
    curve = equation(records)
    theta = parameters(curve, 12)
    times = np.sort(np.random.default_rng(1).uniform(0, 5, (12, 4)), axis=1)
    together, _ = curve(times, theta)
    for row in range(12):
        alone, _ = replace(curve, latents=curve.latents[[row]])(times[[row]], theta[[row]])
        # The step follows the fastest row of a batch.
        np.testing.assert_allclose(together[[row]], alone, atol=1e-4)


def test_same_seed_same_forecast_and_another_seed_another_layer(records):
    draws = [
        fit_population(Model.LATENT_ODE, records).draws(records[0].first(2), records[0].times_years[-1:])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*draws)
    first, second = (LatentGrowthODE.of(records, FLOOR, 0.5, seed).hidden.bias for seed in (0, 1))
    assert not np.allclose(first, second)


def test_capacity_lies_above_every_training_visit_and_the_patient_forecast(records):
    fitted = fit_population(Model.LATENT_ODE, records)
    largest = max(record.log_volumes.max() for record in records)
    assert fitted.population.curve.floor == pytest.approx(largest)
    giant = GrowthRecord("giant", np.array([0.0]), np.array([15.0]))
    assert fitted.population.curve.of_patient(giant).floor == 15.0


def test_residual_and_volume_parts_of_the_latent_change_nothing(records):
    curve = equation(records)
    assert set(curve.space.axes) == {"loc", "shape"}


def test_without_latents_the_volume_alone_is_read():
    records = simulate_cohort(CohortSettings(8, 3)).records
    curve = equation(records)
    assert curve.latents.shape == (8, 0)
    assert np.isfinite(curve(np.array([0.0, 1.0]), parameters(curve, 8))[0]).all()


@pytest.mark.slow
def test_place_that_sets_the_rate_helps_where_one_visit_is_shown():
    settings = CohortSettings(60, 2, one_capacity=True, alpha_span=1.0, location_effect=0.6)
    records = simulate_cohort(settings).records
    new = simulate_cohort(replace(settings, n_patients=40, seed=1000)).records
    truth = np.array([record.log_volumes[-1] for record in new])
    scores = {}
    for model in (Model.GOMPERTZ, Model.LATENT_ODE):
        fitted = fit_population(model, records)
        draws = [fitted.draws(record.first(1), record.times_years[-1:])[:, 0] for record in new]
        scores[model] = crps(np.stack(draws, axis=1), truth)
    _, _, high = difference_interval(scores[Model.LATENT_ODE], scores[Model.GOMPERTZ])
    assert high < 0


def test_missing_torchdiffeq_names_the_install(records, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ValueError, match=r"pip install 'revoxel\[growth\]'"):
        fit_population(Model.LATENT_ODE, records)


def test_negative_correction_is_refused(records):
    with pytest.raises(ValueError, match="eps_per_year must be finite"):
        equation(records, -1.0)
