"""Growth: do 95 % prediction intervals hold what they promise; does a latent help; how long does it take.

    python benchmarks/growth.py coverage|ode|speed [--quick]

coverage, 4 minutes on one core (--quick: 20 s): cohorts of Gompertz tumours, each patient with a K of their
own; a model is fitted on each, then sees all visits but the last of other patients of the same kind and
forecasts it. Expect 92 to 98 % for `gompertz`, whose law is the truth; the others show what a wrong law does.

ode, 4 minutes (--quick: 1): leave one patient out on cohorts whose truth is Gompertz, with latents that
tell nothing, and whose rate depends on a place that only the latent knows. Expect the latent equation to be
refused in the first and to win in the second where one visit is all there is to go by.

speed, 1 minute (--quick: 10 s): seconds to leave one patient out, by size of the cohort.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from rich.console import Console

from revoxel.core.report import number_table
from revoxel.semivae.growth.evaluation import judge, leave_one_patient_out
from revoxel.semivae.growth.models import Model, fit_population
from revoxel.semivae.growth.scores import INTERVAL
from revoxel.semivae.growth.simulation import CohortSettings, simulate_cohort

N_COHORTS = {12: 60, 40: 24, 200: 6}
N_VISITS = (2, 3, 4, 6)
N_NEW = 30
MODELS = (Model.LINEAR, Model.EXPONENTIAL, Model.GOMPERTZ, Model.REDUCED_GOMPERTZ)


def inside(model: Model, settings: CohortSettings, n_new: int) -> list[bool]:
    """Whether each new patient's last visit lies in the interval of a model fitted on one cohort."""
    fitted = fit_population(model, simulate_cohort(settings).records)
    new = CohortSettings(
        n_new, settings.n_visits, one_capacity=settings.one_capacity, seed=settings.seed + 1000
    )
    held = []
    for record in simulate_cohort(new).records:
        draws = fitted.draws(record.first(settings.n_visits - 1), record.times_years[-1:])
        low, high = np.percentile(draws, INTERVAL)
        held.append(bool(low <= record.log_volumes[-1] <= high))
    return held


def coverage(quick: bool) -> dict[str, dict[str, float | str]]:
    """Share of truths inside, by size of cohort and model."""
    rows: dict[str, dict[str, float | str]] = {}
    for n_patients, n_cohorts in N_COHORTS.items():
        for n_visits in N_VISITS[:: 2 if quick else 1]:
            row: dict[str, float | str] = {}
            for model in MODELS:
                held = [
                    inside(model, CohortSettings(n_patients, n_visits, seed=seed), N_NEW)
                    for seed in range(n_cohorts // 6 if quick else n_cohorts)
                ]
                row[model.value] = float(np.mean(held))
            rows[f"{n_patients} x {n_visits}"] = row
    return rows


def latent_equation(quick: bool) -> dict[str, dict[str, float | str]]:
    """CRPS of every model, and who is recommended."""
    n = 24 if quick else 40
    cohorts = {
        "Gompertz, own K": CohortSettings(n, 4, location_effect=0.0),
        "place sets rate, 1 shown": CohortSettings(
            n, 2, one_capacity=True, alpha_span=1.0, location_effect=0.6
        ),
        "place sets rate, 2 shown": CohortSettings(
            n, 3, one_capacity=True, alpha_span=1.0, location_effect=0.6
        ),
    }
    rows: dict[str, dict[str, float | str]] = {}
    for name, settings in cohorts.items():
        records = simulate_cohort(settings).records
        held_out = {model: leave_one_patient_out(model, records) for model in Model}
        verdict = judge(held_out)
        rows[name] = {model.value: held.scores.crps for model, held in held_out.items()}
        rows[name] |= {"recommended": verdict.recommended.value}
        Console().print(f"{name}: {verdict.sentence}", soft_wrap=True)
    return rows


def speed(quick: bool) -> dict[str, dict[str, float | str]]:
    """Processor seconds of leaving one patient out, all simple models."""
    rows: dict[str, dict[str, float | str]] = {}
    for n_patients, n_visits in ((12, 3), (40, 4)) if quick else ((12, 3), (40, 4), (100, 5)):
        records = simulate_cohort(CohortSettings(n_patients, n_visits)).records
        row: dict[str, float | str] = {}
        for model in (Model.PERSISTENCE, *MODELS):
            start = time.process_time()
            leave_one_patient_out(model, records)
            row[model.value] = time.process_time() - start
        rows[f"{n_patients} x {n_visits}"] = row
    return rows


def main() -> None:
    """Print the table."""
    kinds = {
        "coverage": (coverage, "Truths inside the 95 % interval; patients x visits fitted on"),
        "ode": (latent_equation, "CRPS of the last log volume, each patient left out"),
        "speed": (speed, "Processor seconds to leave one patient out"),
    }
    parser = argparse.ArgumentParser(description="Coverage, latents and speed of growth forecasts.")
    parser.add_argument("what", choices=list(kinds))
    parser.add_argument("--quick", action="store_true", help="fewer or smaller cohorts")
    chosen = parser.parse_args()
    measure, title = kinds[chosen.what]
    Console().print(number_table(title, measure(chosen.quick), first_column="cohort"))


if __name__ == "__main__":
    main()
