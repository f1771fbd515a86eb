"""Scores by hand, honest verdicts, results that appear together."""

import csv
import json

import numpy as np
import pytest
from matplotlib.image import imread

from revoxel.semivae.growth import evaluation, forecast
from revoxel.semivae.growth.evaluation import HeldOut, judge, leave_one_patient_out
from revoxel.semivae.growth.forecast import ForecastRequest, forecast_growth, forecast_patient, run_growth
from revoxel.semivae.growth.models import Model, fit_population
from revoxel.semivae.growth.records import GrowthRecord
from revoxel.semivae.growth.scores import crps, difference_interval, score_forecasts
from revoxel.semivae.growth.simulation import CohortSettings, simulate_cohort


@pytest.fixture(scope="module")
def records():
    return simulate_cohort(CohortSettings(n_patients=8, n_visits=3, seed=2)).records


@pytest.mark.reference
def test_crps_of_a_normal_forecast_is_the_closed_form():
    # Gneiting and Raftery 2007, eq. 21: s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)); z = 0 and z = 1.
    draws = 2.0 * np.random.default_rng(0).standard_normal((40000, 1)) + 5.0
    at_mean = 2.0 * (2 / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi))
    at_one = 2.0 * (0.682689 + 2 * np.exp(-0.5) / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi))
    assert crps(draws, np.array([5.0]))[0] == pytest.approx(at_mean, rel=0.03)
    assert crps(draws, np.array([7.0]))[0] == pytest.approx(at_one, rel=0.03)


def test_scores_of_a_small_table():
    draws = np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0]])
    scores = score_forecasts(draws, np.array([1.0, 5.0]))
    assert scores.mae == 1.0
    assert scores.r2 == 1 - 4 / 8
    assert scores.coverage == 0.5
    assert np.isnan(score_forecasts(draws, np.array([1.0, 1.0])).r2)


def test_difference_interval_holds_the_mean():
    mean, low, high = difference_interval(np.arange(50.0), np.arange(50.0) + 1)
    assert (mean, low, high) == (-1.0, -1.0, -1.0)


def held(model, error):
    truth = np.linspace(6, 9, 30)
    draws = truth + error + 0.1 * np.random.default_rng(0).standard_normal((500, 30))
    return HeldOut(model, tuple(map(str, range(30))), draws, truth, 0)


def test_verdict_recommends_only_what_beats_persistence():
    wobble = np.where(np.arange(30) % 2, 1.0, -1.0)
    persistence = held(Model.PERSISTENCE, 0.5)
    better = judge({Model.PERSISTENCE: persistence, Model.GOMPERTZ: held(Model.GOMPERTZ, 0.0)})
    assert better.recommended is Model.GOMPERTZ
    assert "intervals held 100%" in better.sentence
    worse = judge({Model.PERSISTENCE: persistence, Model.GOMPERTZ: held(Model.GOMPERTZ, 2.0)})
    assert worse.recommended is Model.PERSISTENCE
    chance = judge({Model.PERSISTENCE: persistence, Model.LINEAR: held(Model.LINEAR, 0.49 + 0.4 * wobble)})
    assert chance.best is Model.LINEAR
    assert chance.recommended is Model.PERSISTENCE
    assert "beyond chance" in chance.sentence
    with pytest.raises(ValueError, match="persistence"):
        judge({Model.LINEAR: held(Model.LINEAR, 0.0)})


def test_latent_equation_is_recommended_only_where_it_beats_the_best_mixed_model():
    wobble = np.where(np.arange(30) % 2, 1.0, -1.0)
    others = {
        Model.PERSISTENCE: held(Model.PERSISTENCE, 2.0),
        Model.GOMPERTZ: held(Model.GOMPERTZ, 0.5),
        Model.LINEAR: held(Model.LINEAR, 1.0),
    }
    better = judge(others | {Model.LATENT_ODE: held(Model.LATENT_ODE, 0.0)})
    assert better.recommended is Model.LATENT_ODE
    assert "against gompertz" in better.sentence
    chance = judge(others | {Model.LATENT_ODE: held(Model.LATENT_ODE, 0.49 + 0.4 * wobble)})
    assert chance.best is Model.LATENT_ODE
    assert chance.recommended is Model.GOMPERTZ
    assert "latent_ode is not recommended" in chance.sentence
    worse = judge(others | {Model.LATENT_ODE: held(Model.LATENT_ODE, 0.7)})
    assert (worse.best, worse.recommended) == (Model.GOMPERTZ, Model.GOMPERTZ)


def test_patient_left_out_is_never_fitted_on(records, monkeypatch):
    seen, fit = [], evaluation.fit_population

    def watched(model, others):
        seen.append({record.patient_id for record in others})
        return fit(model, others)

    monkeypatch.setattr(evaluation, "fit_population", watched)
    result = leave_one_patient_out(Model.PERSISTENCE, records)
    assert all(name not in others for name, others in zip(result.patients, seen, strict=True))
    with pytest.raises(ValueError, match="two visits"):
        leave_one_patient_out(Model.PERSISTENCE, [record.first(1) for record in records])


def write_visits(path, records):
    rows = ["patient_id,time_years,volume_mm3"]
    for record in records:
        for time, value in zip(record.times_years, record.log_volumes, strict=True):
            rows.append(f"{record.patient_id},{time},{np.exp(value)}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_table_report_and_picture_appear_together(records, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "COMPARED", [Model.PERSISTENCE, Model.LINEAR, Model.REDUCED_GOMPERTZ])
    short = [*records, GrowthRecord("once", [0.0], [7.0])]
    source, out = write_visits(tmp_path / "visits.csv", short), tmp_path / "out"
    result = run_growth(source, out, ForecastRequest([1.0, 5.0]))
    assert sorted(path.name for path in out.iterdir()) == ["forecast.csv", "growth.png", "growth_report.json"]
    rows = list(csv.DictReader((out / "forecast.csv").read_text().splitlines()))
    assert list(rows[0]) == ["patient_id", "time_years", "log_volume", "lo95", "hi95"]
    assert len(rows) == 2 * len(short)
    assert all(float(row["lo95"]) < float(row["log_volume"]) < float(row["hi95"]) for row in rows)
    report = json.loads((out / "growth_report.json").read_text())
    assert report["forecast_by"] == result.used.value
    assert set(report["models"]["linear"]["scores"]) >= {"r2", "mae", "crps", "coverage"}
    assert imread(out / "growth.png").std() > 0.05
    with pytest.raises(FileExistsError, match="--overwrite"):
        run_growth(source, out, ForecastRequest([1.0]))


def test_visits_are_never_written_over(records, tmp_path):
    source = write_visits(tmp_path / "forecast.csv", records)
    before = source.read_bytes()
    with pytest.raises(ValueError, match="another output folder"):
        run_growth(source, tmp_path, ForecastRequest([1.0]), overwrite=True)
    assert source.read_bytes() == before


def test_model_that_cannot_be_fitted_is_listed(monkeypatch):
    monkeypatch.setattr(forecast, "COMPARED", [Model.PERSISTENCE, Model.GOMPERTZ])
    rng = np.random.default_rng(0)
    flat = [
        GrowthRecord(f"p{i}", np.arange(3.0), 7 - 0.1 * np.arange(3) + 0.01 * rng.normal(size=3))
        for i in range(6)
    ]
    result = forecast_growth(flat, ForecastRequest([1.0]))
    assert "growing" in result.failed[Model.GOMPERTZ]
    assert result.used is Model.PERSISTENCE
    with pytest.raises(ValueError, match="growing"):
        forecast_growth(flat, ForecastRequest([1.0], Model.GOMPERTZ))


def test_forecast_of_the_past_is_refused(records):
    fitted = fit_population(Model.PERSISTENCE, records)
    with pytest.raises(ValueError, match="positive years"):
        forecast_patient(fitted, records[0], [0.0])
