"""From a CSV of visits to `forecast.csv`, `growth_report.json` and `growth.png`."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.provenance import sha256_of, write_sidecar
from revoxel.core.staging import all_or_nothing
from revoxel.semivae.growth.evaluation import HeldOut, Verdict, judge, leave_one_patient_out
from revoxel.semivae.growth.models import Fitted, FittedMixed, Model, fit_population
from revoxel.semivae.growth.picture import draw_growth
from revoxel.semivae.growth.records import read_growth_csv
from revoxel.semivae.growth.scores import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.semivae.growth.records import GrowthRecord

#: Models that every report compares; the latent equation is compared where it is asked for.
COMPARED = tuple(model for model in Model if model is not Model.LATENT_ODE)
FORECAST, REPORT, PICTURE = "forecast.csv", "growth_report.json", "growth.png"


@dataclass(frozen=True)
class ForecastRequest:
    """What is asked for.

    Args:
        ahead_years: Years after each patient's last visit.
        model: Use this one instead of the recommended one.
        ode: Compare the latent equation too; using it does so.
    """

    ahead_years: Sequence[float]
    model: Model | None = None
    ode: bool = False

    @property
    def compared(self) -> tuple[Model, ...]:
        """Models of the report."""
        ode = self.ode or self.model is Model.LATENT_ODE
        return (*COMPARED, Model.LATENT_ODE) if ode else tuple(COMPARED)


@dataclass(frozen=True, eq=False)
class PatientForecast:
    """Forecast of one patient.

    Attributes:
        record: The visits it rests on.
        times_years: `(time,)` on the patient's clock.
        log_volume: `(time,)` median.
        low95: `(time,)` lower end of the 95 % prediction interval.
        high95: `(time,)` upper end.
    """

    record: GrowthRecord
    times_years: NDArray[np.float64]
    log_volume: NDArray[np.float64]
    low95: NDArray[np.float64]
    high95: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GrowthResult:
    """What `forecast_growth` found.

    Attributes:
        held_out: Forecasts of the last visits, by model.
        fitted: Models fitted on all patients.
        failed: Why a model could not be fitted.
        verdict: Which model to use.
        used: The model of the forecasts.
        forecasts: One per patient.
    """

    held_out: dict[Model, HeldOut]
    fitted: dict[Model, Fitted]
    failed: dict[Model, str]
    verdict: Verdict
    used: Model
    forecasts: list[PatientForecast]


def forecast_patient(fitted: Fitted, record: GrowthRecord, ahead_years: Sequence[float]) -> PatientForecast:
    """Forecast one patient.

    Args:
        fitted: Model of a cohort.
        record: The patient's visits, one or more.
        ahead_years: Years after the last visit, positive.

    Returns:
        Median and 95 % prediction interval of a measured log volume.

    Raises:
        ValueError: If a time is not after the last visit.
    """
    ahead = np.asarray(ahead_years, dtype=np.float64)
    if not ahead.size or not (np.isfinite(ahead).all() and (ahead > 0).all()):
        msg = f"times must be positive years after the last visit, got {list(ahead_years)}; use --at 1,2,5."
        raise ValueError(msg)
    times = record.times_years[-1] + ahead
    low, middle, high = np.percentile(fitted.draws(record, times), (INTERVAL[0], 50.0, INTERVAL[1]), axis=0)
    return PatientForecast(record, times, middle, low, high)


def forecast_growth(
    records: Sequence[GrowthRecord],
    request: ForecastRequest,
    progress: Callable[[str, float], None] | None = None,
) -> GrowthResult:
    """Compare all models under leave-one-patient-out and forecast every patient.

    Args:
        records: Patients.
        request: When, and by which models.
        progress: Called with the model's name and the share done.

    Returns:
        Scores, verdict and forecasts. A model that cannot be fitted is listed, not fatal.

    Raises:
        ValueError: If persistence or the model asked for cannot be fitted.
    """
    held_out: dict[Model, HeldOut] = {}
    fitted: dict[Model, Fitted] = {}
    failed: dict[Model, str] = {}
    for one in request.compared:
        report = None if progress is None else lambda share, name=one.value: progress(name, share)
        try:
            fitted[one] = fit_population(one, records)
            held_out[one] = leave_one_patient_out(one, records, report)
        except (ValueError, np.linalg.LinAlgError) as error:
            if one in {Model.PERSISTENCE, request.model}:
                raise
            fitted.pop(one, None)
            failed[one] = str(error)
    verdict = judge(held_out)
    used = request.model or verdict.recommended
    forecasts = [forecast_patient(fitted[used], record, request.ahead_years) for record in records]
    return GrowthResult(held_out, fitted, failed, verdict, used, forecasts)


def run_growth(
    source: Path,
    out: Path,
    request: ForecastRequest,
    progress: Callable[[str, float], None] | None = None,
    *,
    overwrite: bool = False,
) -> GrowthResult:
    """Read visits, forecast, write table, report and picture together.

    Args:
        source: CSV of visits.
        out: Folder.
        request: As of `forecast_growth`.
        progress: Likewise.
        overwrite: Replace results that exist.

    Returns:
        What was found.

    Raises:
        FileExistsError: If results exist and `overwrite` is false.
        ValueError: If the CSV cannot be used, or is one of the results.
        OSError: If the results cannot be written.
    """
    _check_results(source, out, overwrite=overwrite)
    records = read_growth_csv(source)
    result = forecast_growth(records, request, progress)
    with all_or_nothing(out, REPORT) as folder:
        _write_forecasts(result.forecasts, folder / FORECAST)
        draw_growth(result, folder / PICTURE)
        write_sidecar(folder / REPORT, _report(source, records, result))
    return result


def _check_results(source: Path, out: Path, *, overwrite: bool) -> None:
    for result in (out / REPORT, out / FORECAST, out / PICTURE):
        if result.resolve() == source.resolve():
            msg = f"output must not be the visits, got {result} for both; choose another output folder."
            raise ValueError(msg)
        if result.exists() and not overwrite:
            msg = f"{result} must not exist yet; pass --overwrite to replace it, or choose another output."
            raise FileExistsError(msg)


def _write_forecasts(forecasts: Sequence[PatientForecast], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("patient_id", "time_years", "log_volume", "lo95", "hi95"))
        for one in forecasts:
            for numbers in zip(one.times_years, one.log_volume, one.low95, one.high95, strict=True):
                rows.writerow((one.record.patient_id, *(f"{number:.6g}" for number in numbers)))


def _report(source: Path, records: Sequence[GrowthRecord], result: GrowthResult) -> dict[str, Any]:
    models = {
        model.value: {
            "scores": asdict(held.scores),
            "parameters": result.fitted[model].described(),
            "n_fallbacks": held.n_fallbacks,
        }
        for model, held in result.held_out.items()
    }
    used = result.fitted[result.used]
    flat = [r.patient_id for r in records if isinstance(used, FittedMixed) and used.falls_back(r)]
    return {
        "input": source,
        "sha256": sha256_of(source),
        "n_patients": len(records),
        "n_visits": sum(record.n_visits for record in records),
        "protocol": "leave one patient out; shown all visits but the last; scored on the last log volume",
        "models": models,
        "not_fitted": {model.value: reason for model, reason in result.failed.items()},
        "verdict": asdict(result.verdict),
        "forecast_by": result.used,
        "straight_line_instead": flat,
        "n_patients_with_latent": sum(record.latent is not None for record in records),
    }
