"""`revoxel semivae growth`: visits in, forecasts with intervals and a verdict on the models out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from revoxel.cli.options import DebugOption, DryRunOption, OverwriteOption
from revoxel.cli.progress import stage_bars


def growth(
    visits: Annotated[
        Path,
        typer.Argument(metavar="CSV", help="Columns patient_id, time_years, volume_mm3[, latent], by visit."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/growth"),
    at: Annotated[
        str, typer.Option(help="Years after each patient's last visit, separated by commas.")
    ] = "1,2,5",
    model: Annotated[
        Literal["auto", "persistence", "linear", "exponential", "gompertz", "reduced_gompertz", "latent_ode"],
        typer.Option(help="Who forecasts; auto: the best, if it beats persistence."),
    ] = "auto",
    ode: Annotated[
        bool,
        typer.Option("--ode", help="Compare the latent growth equation too; seconds per patient."),
    ] = False,
    dry_run: DryRunOption = False,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Forecast tumour volumes with 95 % prediction intervals.

    Five models are compared leaving out one patient at a time, with --ode a sixth that may read latents of
    revoxel semivae encode; the report says which forecasts best and whether it beats leaving the last volume
    as it is. Writes forecast.csv (log volumes), growth_report.json and growth.png. Research use, not for
    diagnosis.

    Example: revoxel semivae growth visits.csv --at 1,2,5 -o out/growth
    """
    from rich.console import Console

    from revoxel.core.report import number_table
    from revoxel.semivae.growth.forecast import FORECAST, PICTURE, REPORT, ForecastRequest, run_growth
    from revoxel.semivae.growth.models import Model
    from revoxel.semivae.growth.records import read_growth_csv

    ahead_years = _years(at)
    console = Console()
    if dry_run:
        records = read_growth_csv(visits)
        n_visits = sum(record.n_visits for record in records)
        words = f"{len(records)} patients, {n_visits} visits -> {out}; nothing is written"
        console.print(words, soft_wrap=True)
        return
    request = ForecastRequest(ahead_years, None if model == "auto" else Model(model), ode)
    with stage_bars() as progress:
        result = run_growth(visits, out, request, progress, overwrite=overwrite)
    rows: dict[str, dict[str, float | str]] = {}
    for one, held in result.held_out.items():
        scores = held.scores
        rows[one.value] = {
            "R2": scores.r2,
            "MAE": scores.mae,
            "CRPS": scores.crps,
            "in 95 %": scores.coverage,
            "width": scores.interval_width,
        }
    n_patients = next(iter(result.held_out.values())).scores.n_patients
    console.print(
        number_table(f"Last log volume of {n_patients} patients, each left out", rows, first_column="model")
    )
    for one, reason in result.failed.items():
        console.print(f"[yellow]-[/yellow] {escape(f'{one}: {reason}')}", soft_wrap=True)
    console.print(f"{result.verdict.sentence}; forecasts by {result.used}", soft_wrap=True, markup=False)
    for kind, file in (("table", FORECAST), ("report", REPORT), ("picture", PICTURE)):
        console.print(f"{kind:8} {out / file}", soft_wrap=True)


def _years(text: str) -> list[float]:
    try:
        years = [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        years = []
    if not years or not all(0 < year < float("inf") for year in years):
        msg = f"--at must be positive years separated by commas, got {text!r}; use --at 1,2,5."
        raise ValueError(msg)
    return sorted(years)
