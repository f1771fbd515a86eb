"""Growth: how often 95 % prediction intervals hold the truth, by size of the cohort that the models saw.

    python benchmarks/growth.py coverage [--quick]

Bargain: 4 minutes on one core (--quick: 20 s). Cohorts of Gompertz tumours, each patient with a K of their
own; a model is fitted on each, then sees all visits but the last of other patients of the same kind and
forecasts it. Expect 92 to 98 % for `gompertz`, whose law is the truth; the others show what a wrong law does.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console

from revoxel.core.report import number_table
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Coverage of growth forecasts.")
    parser.add_argument("what", choices=["coverage"])
    parser.add_argument("--quick", action="store_true", help="fewer cohorts")
    chosen = parser.parse_args()
    title = "Truths inside the 95 % interval; patients x visits that the model was fitted on"
    Console().print(number_table(title, coverage(chosen.quick), first_column="cohort"))


if __name__ == "__main__":
    main()
