"""`revoxel train`: one gate per spacing, pulse and fold of a manifest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revoxel.cli.cluster_options import (
    SCHEDULER,
    AttemptsOption,
    ClusterConfigOption,
    CoresOption,
    GpusOption,
    JobsOption,
    QueueOption,
    WalltimeOption,
    WorkerMemoryOption,
    cluster_of,
    stopped_tidily,
)
from revoxel.cli.options import (
    PANEL,
    DebugOption,
    DeviceOption,
    DryRunOption,
    OverwriteOption,
    ThreadsOption,
)
from revoxel.cli.parsing import parse_values

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from revoxel.cohort.cluster import ClusterSettings
    from revoxel.sagnef.campaign.plan import CampaignSettings, PlannedModel
    from revoxel.sagnef.campaign.run import Outcome

EXIT_CODE_SOME_FAILED = 1
TALKATIVE = ("monai.bundle.scripts", "monai.bundle.workflows", "monai.data", "monai.data.image_reader")


ManifestOption = Annotated[Path, typer.Option("--manifest", "-m", help="kfolds_manifest.json with folds.")]
CfgOption = Annotated[Path | None, typer.Option(help="Model configuration (YAML); default: the one shipped.")]
SpacingsOption = Annotated[str | None, typer.Option(help="Such as 3mm,5mm,7mm; default: all with cases.")]
PulsesOption = Annotated[str | None, typer.Option(help="Such as t1c,t1n,t2f,t2w; default: all with cases.")]
FoldsOption = Annotated[str | None, typer.Option(help="Such as fold0,fold1; default: all of the manifest.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Output root; default: out_root of --cfg.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any value of the bundles' train.json; repeatable."),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad-cases", help="Leave out cases that cannot be read, with a warning.")
]
RunSeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="Seed of everything random; default: that of --cfg.", rich_help_panel=PANEL),
]


def train(
    context: typer.Context,
    manifest: ManifestOption,
    cfg: CfgOption = None,
    spacings: SpacingsOption = None,
    pulses: PulsesOption = None,
    folds: FoldsOption = None,
    out: OutOption = None,
    further: SetOption = None,
    skip_bad_cases: SkipOption = False,
    scheduler: Annotated[str | None, SCHEDULER] = None,
    jobs: JobsOption = None,
    cores_per_worker: CoresOption = None,
    gpus_per_worker: GpusOption = None,
    memory: WorkerMemoryOption = None,
    queue: QueueOption = None,
    walltime: WalltimeOption = None,
    cluster_config: ClusterConfigOption = None,
    attempts: AttemptsOption = 3,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: RunSeedOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Train one gate per spacing, pulse and fold, and score each on its fold's test patients.

    Finished models are left alone and interrupted ones go on, so the same line continues an interrupted
    campaign. A model that fails is listed at the end (exit code 1) and does not stop the others.

    With --scheduler each model is a job for a worker; a worker that sees several GPUs trains on all of them.

    Example: revoxel train --cfg configs/sagnef/model_configuration.yaml --manifest kfolds_manifest.json
    --spacings 3mm,5mm,7mm --pulses t1c,t1n,t2f,t2w --dry-run
    """
    from rich.console import Console

    from revoxel.core.compute import resolve_device, set_threads
    from revoxel.core.pulses import Pulse, Spacing
    from revoxel.sagnef.campaign.plan import plan_campaign

    # Workers choose their own device; a login node need not have what they have.
    here = resolve_device("cpu" if scheduler else device)
    values = {"device": f"$torch.device('{here}')", **parse_values(further or [])}
    values |= {"out_root": str(out)} if out else {}
    values |= {"seed": seed} if seed is not None else {}
    values |= {"skip_bad_cases": True} if skip_bad_cases else {}
    settings = replace(
        _shipped_settings(manifest, cfg),
        spacings=_parse_names(spacings, Spacing, "--spacings"),
        pulses=_parse_names(pulses, Pulse, "--pulses"),
        folds=tuple(name.strip() for name in folds.split(",")) if folds else None,
        values=values,
        overwrite=overwrite,
    )
    set_threads(threads)
    models = plan_campaign(settings)
    console = Console()
    if dry_run:
        _show_plan(models, console)
        return
    if scheduler:
        outcomes = _send_out(models, settings, cluster_of(context), console)
    else:
        outcomes = _carry_out(models, settings, console)
    _tell(models, outcomes, console)


def _shipped_settings(manifest: Path, cfg: Path | None) -> CampaignSettings:
    from revoxel.core.bundles import configs_root
    from revoxel.core.configuration import CONFIGURATION, TABLE
    from revoxel.sagnef.campaign.plan import CampaignSettings

    shipped = configs_root() / "sagnef"
    return CampaignSettings(
        manifest=manifest, configuration=cfg or shipped / CONFIGURATION, table=shipped / TABLE
    )


def _send_out(
    models: list[PlannedModel], settings: CampaignSettings, cluster: ClusterSettings, console: Console
) -> list[Outcome]:
    from revoxel.cohort.board import Board
    from revoxel.cohort.training import train_on_workers

    with stopped_tidily(), Board(console, f"train: {settings.manifest}") as board:
        return train_on_workers(models, cluster, board, overwrite=settings.overwrite)


def _tell(models: list[PlannedModel], outcomes: list[Outcome], console: Console) -> None:
    console.print(_summary_table(outcomes))
    _show_folders(models)
    failed = [outcome for outcome in outcomes if outcome.reason]
    for outcome in failed:
        typer.secho(f"failed: {outcome.model.name}: {outcome.reason}", err=True, fg="red")
    if failed:
        raise typer.Exit(EXIT_CODE_SOME_FAILED)


def _carry_out(models: list[PlannedModel], settings: CampaignSettings, console: Console) -> list[Outcome]:
    from revoxel.sagnef.campaign.run import run_campaign

    numbers = {id(model): number for number, model in enumerate(models, start=1)}

    def announce(model: PlannedModel) -> None:
        console.print(f"[bold]{numbers[id(model)]}/{len(models)} {model.name}[/bold]: {model.steps()}")

    with _log_lines():
        return list(run_campaign(models, overwrite=settings.overwrite, started=announce))


def _show_folders(models: list[PlannedModel]) -> None:
    """One line per model, whole, so that it can be copied; a table would cut it."""
    for model in models:
        typer.echo(f"{model.name}: {model.folder}")


@contextmanager
def _log_lines() -> Iterator[None]:
    """Show what the package logs, one line per epoch; of MONAI's own lines only errors."""
    from rich.console import Console
    from rich.logging import RichHandler

    own = logging.getLogger("revoxel")
    wanted = {own: logging.INFO} | {logging.getLogger(name): logging.ERROR for name in TALKATIVE}
    before = {one: one.level for one in wanted}
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False)
    own.addHandler(handler)
    try:
        for one, level in wanted.items():
            one.setLevel(level)
        yield
    finally:
        own.removeHandler(handler)
        for one, level in before.items():
            one.setLevel(level)


def _parse_names(text: str | None, kind: type[StrEnum], option: str) -> tuple[Any, ...] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(kind)]
    if unknown or not names:
        msg = f"{option} must be some of {', '.join(kind)}, got {', '.join(unknown) or 'none'}; correct it."
        raise ValueError(msg)
    return tuple(member for member in kind if member in names)


def _show_plan(models: list[PlannedModel], console: Console) -> None:
    console.print(_plan_table(models))
    _show_folders(models)
    for line in sorted({line for model in models for line in model.missing}):
        typer.echo(f"missing: {line}")


def _plan_table(models: list[PlannedModel]) -> Table:
    from revoxel.core.report import number_table

    rows: dict[str, dict[str, float | str]] = {
        model.name: {
            "cases train/val/test": "/".join(str(number) for number in model.n_cases.values()),
            "to do": model.problem or model.steps(),
        }
        for model in models
    }
    return number_table(f"Dry run: {len(models)} models, nothing is written", rows, first_column="model")


def _summary_table(outcomes: list[Outcome]) -> Table:
    from revoxel.core.report import number_table

    rows = {outcome.model.name: _summary(outcome) for outcome in outcomes}
    title = "Models; PSNR: mean over the test cases, foreground"
    return number_table(title, rows, digits=2, first_column="model")


def _summary(outcome: Outcome) -> dict[str, float | str]:
    from revoxel.experts.names import Expert

    experts = {name: value for name, value in outcome.psnr_db.items() if name in set(Expert)}
    best = max(experts, key=experts.__getitem__, default="")
    return {
        "epochs": str(outcome.n_epochs),
        "best val loss": "" if outcome.val_loss is None else f"{outcome.val_loss:.6f}",
        "test dB": outcome.psnr_db.get("fused", ""),
        "best expert dB": f"{experts[best]:.2f} ({best})" if best else "",
        "seconds": f"{outcome.seconds:.0f}",
    }
