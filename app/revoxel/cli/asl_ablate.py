"""`revoxel asl ablate`: experiments at equal budget, and a verdict on each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption
from revoxel.cli.parsing import seconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from revoxel.asl.ablation.experiments import Experiment
    from revoxel.asl.ablation.run import AblationSettings, Trial

EXIT_CODE_SOME_FAILED = 1
VERDICT_SNR = 10.0


def ablate(
    experiments: Annotated[
        str, typer.Option(help="Numbers or names: 00-20, 09,12, plain,residual, or all.")
    ] = "00-20",
    budget: Annotated[str, typer.Option(help="Computing time of each training: 30s, 5min, 1h.")] = "5min",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings per experiment.")] = 3,
    phantoms: Annotated[int, typer.Option(min=2, help="Held-out phantoms to score on.")] = 20,
    slices: Annotated[
        int | None, typer.Option(min=8, help="Slices per epoch; fewer for small budgets.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the runs.")] = Path("out/asl_ablation"),
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Train experiments at equal budget and compare each with Exp 09 and with the shipped configuration.

    The same line again continues: finished trials are read. Seconds are those of the processor, so that other
    jobs on the machine change no verdict. "improves" needs an interval without 0 (paired bootstrap over
    phantoms).

    Example: revoxel asl ablate --experiments 00-20 --budget 5min -o out/ablation
    """
    from revoxel.asl.ablation.experiments import find_experiments
    from revoxel.asl.ablation.run import AblationSettings
    from revoxel.asl.evaluation.held_out import ScanRecipe
    from revoxel.core.compute import resolve_device, set_threads

    chosen = find_experiments(experiments)
    values: dict[str, object] = {"device": f"$torch.device('{resolve_device(device)}')"}
    if slices:
        values |= {"slices_per_epoch": slices, "validation_slices": max(8, slices // 8)}
    settings = AblationSettings(
        seconds_of(budget), tuple(range(seeds)), recipe=ScanRecipe(n_phantoms=phantoms), values=values
    )
    set_threads(threads)
    if dry_run:
        _show_plan(chosen, settings, out)
        return
    trials = _run_all(chosen, settings, out, overwrite=overwrite)
    _show_verdicts(trials, out)
    if any(trial.reason for trial in trials):
        raise typer.Exit(EXIT_CODE_SOME_FAILED)


def _show_plan(chosen: Sequence[Experiment], settings: AblationSettings, out: Path) -> None:
    from rich.console import Console

    from revoxel.asl.ablation.run import finished_trial
    from revoxel.core.report import number_table

    rows: dict[str, dict[str, float | str]] = {}
    for experiment in chosen:
        done = [
            finished_trial(out / experiment.name / f"seed{seed}", settings) is not None
            for seed in settings.seeds
        ]
        rows[experiment.name] = {"what": experiment.title, "trials done": f"{sum(done)}/{len(done)}"}
    minutes = len(chosen) * len(settings.seeds) * settings.budget_s / 60
    Console().print(number_table("Dry run: nothing is written", rows, first_column="experiment"))
    typer.echo(
        f"{len(chosen)} experiments, {len(settings.seeds)} seeds: at most {minutes:.0f} min of training"
    )


def _run_all(
    chosen: Sequence[Experiment], settings: AblationSettings, out: Path, *, overwrite: bool
) -> list[Trial]:
    import shutil

    from revoxel.asl.ablation.run import run_experiments
    from revoxel.cli.progress import stage_bars

    if overwrite:
        for experiment in chosen:
            shutil.rmtree(out / experiment.name, ignore_errors=True)
    n_trials = len(chosen) * len(settings.seeds)
    trials: list[Trial] = []
    with stage_bars() as report:

        def started(name: str, seed: int) -> None:
            report(f"{name}, seed {seed}", len(trials) / n_trials)

        for trial in run_experiments(chosen, settings, out, started):
            trials.append(trial)
            report(f"{trial.experiment}, seed {trial.seed}", 1.0)
    return trials


def _show_verdicts(trials: Sequence[Trial], out: Path) -> None:
    from rich.console import Console

    from revoxel.asl.ablation.experiments import DEFAULT, LOCKED
    from revoxel.asl.ablation.verdict import verdict_rows, write_markdown
    from revoxel.core.report import number_table

    rows = verdict_rows(trials, (LOCKED, DEFAULT), VERDICT_SNR)
    title = (
        f"SNR60 {VERDICT_SNR:g}; CBF in ml/100g/min, ATT in ms; differences with 95 % intervals over phantoms"
    )
    short = {name: {key: row[key] for key in row if " - " not in key} for name, row in rows.items()}
    Console().print(number_table(title, short, first_column="experiment"))
    typer.echo(f"wrote {write_markdown(rows, title, out / 'verdicts.md')}")
