"""`revoxel semivae synthesise`: synthetic heads with tumours, to try everything without anyone's data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revoxel.cli.options import DebugOption, DryRunOption, OverwriteOption, SeedOption, ThreadsOption

if TYPE_CHECKING:
    from revoxel.semivae.simulation.cohort import WrittenCohort


def synthesise(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the cohort.")],
    patients: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
    visits: Annotated[
        str, typer.Option(help="Per patient: one number, or fewest-most. More than one: tumours grow.")
    ] = "1",
    voxel_mm: Annotated[float, typer.Option(min=1, max=8, help="Isotropic voxel size.")] = 2.0,
    share_glioma: Annotated[
        float, typer.Option(min=0, max=1, help="Glioma-like tumours; the others are meningioma-like.")
    ] = 0.5,
    dry_run: DryRunOption = False,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Make heads with one tumour each: four pulses, a label map, and what is true of both.

    The folder gets one folder per patient, study.json (with folds) for the other verbs, visits.csv for
    growth, and truth.csv. Several visits follow a Gompertz curve whose rate and capacity are known. A run
    that was interrupted goes on where it stopped. All heads are deformed from one template: the phantom tests
    code, it says nothing about patients.

    Example: revoxel semivae synthesise -o out/phantoms --patients 60

    Example: revoxel semivae synthesise -o out/growing --patients 20 --visits 2-6 --voxel-mm 2 --seed 1
    """
    from revoxel.core.compute import set_threads
    from revoxel.semivae.simulation.cohort import CohortRecipe, patients_to_make, write_cohort
    from revoxel.semivae.simulation.course import CourseSettings
    from revoxel.semivae.simulation.phantom import PhantomSettings

    counts = _visits(visits)
    recipe = CohortRecipe(
        n_patients=patients,
        phantom=PhantomSettings(voxel_mm=voxel_mm, share_glioma=share_glioma),
        course=None if counts == (1, 1) else CourseSettings(n_visits=counts),
        seed=seed,
    )
    if dry_run:
        missing = patients_to_make(out, recipe, overwrite=overwrite)
        typer.echo(
            f"{patients} patients of {visits} visits at {voxel_mm:g} mm -> {out}: {len(missing)} to make, "
            f"{patients - len(missing)} there already"
        )
        return
    from revoxel.cli.progress import stage_bars

    set_threads(threads)
    with stage_bars() as progress:
        made = write_cohort(out, recipe, lambda share: progress("phantoms", share), overwrite=overwrite)
    _show(made, grows=recipe.course is not None)


def _visits(text: str) -> tuple[int, int]:
    fewest, dash, most = text.partition("-")
    try:
        return int(fewest), int(most if dash else fewest)
    except ValueError as error:
        msg = f"--visits must be a number or a range, got {text!r}; write 1 or 2-6."
        raise ValueError(msg) from error


def _show(made: WrittenCohort, *, grows: bool) -> None:
    from rich.console import Console

    from revoxel.core.report import fact_table

    facts = {
        "scans": f"{made.n_scans} ({made.n_kept} patients were there already)",
        "study": str(made.study),
        "truth": str(made.truth),
        "picture": str(made.picture),
        "next": f"revoxel semivae features {made.study} -o {made.study.parent / 'table.parquet'}",
    }
    if grows:
        facts |= {"volumes": str(made.visits), "or": f"revoxel semivae growth {made.visits}"}
    Console().print(fact_table("Synthetic tumours", facts))
