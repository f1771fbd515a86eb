"""`revoxel semivae train`: a SemiVAE on a study of scans with label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from revoxel.cli.options import (
    DebugOption,
    DeviceOption,
    DryRunOption,
    OverwriteOption,
    SeedOption,
    ThreadsOption,
)
from revoxel.cli.parsing import parse_values, seconds_of

_BUNDLE = "semivae_brats"


def train(
    data: Annotated[Path, typer.Option(help="Study of scans with label maps: study.json or its folder.")],
    fold: Annotated[
        str, typer.Option(help="Train on this fold's training patients; all: on every patient.")
    ] = "all",
    cfg: Annotated[
        Path | None, typer.Option(help="Configuration (YAML); what it leaves out is as shipped.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Computing time: 10min; default: that of --cfg.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Of revoxel semivae features; default: measured and kept in the run.")
    ] = None,
    normalizer: Annotated[
        Path | None,
        typer.Option(help="Of revoxel semivae fit-normalizer; default: fitted on the training patients."),
    ] = None,
    further: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any value of the bundle's train.json; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")] = Path("out/semivae_run"),
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Train on a study. The same line again goes on with an interrupted run.

    Writes model.pt, the weights that were best on the validation patients, for `revoxel semivae evaluate`,
    `encode` and `revoxel bundles adopt`; validation.json with their figures and gates; checkpoints;
    training_log.csv and tensorboard/ with all diagnostics. Cubes of the scans are kept in semivae_cubes/
    beside the run, for other runs too. The budget counts seconds of computing, so that other jobs on the
    machine change nothing. Test patients are not read.

    Example: revoxel semivae train --data out/phantoms --fold fold0 --budget 10min -o out/run

    Example: revoxel semivae train --data study.json --fold fold0 --cfg my.yaml --set batch_size=8 -o out/run
    """
    from revoxel.core.compute import resolve_device, set_threads
    from revoxel.core.training import default_sections, discard_run, read_sections, train_network
    from revoxel.semivae.learning.finish import FINISHED

    sections = read_sections(cfg, _BUNDLE) if cfg else default_sections(_BUNDLE)
    values: dict[str, Any] = {"study": str(data), "fold": fold, "seed": seed}
    values |= {name: str(path) for name, path in {"table": table, "normalizer": normalizer}.items() if path}
    values["device"] = f"$torch.device('{resolve_device(device)}')"
    if budget:
        values |= {"budget_s": seconds_of(budget), "epochs": 100_000}
    values |= parse_values(further or [])
    set_threads(threads)
    if dry_run:
        _show_plan(sections, out, values)
        return
    if overwrite:
        discard_run(out)
    train_network(_BUNDLE, sections, out, **values)
    _show(out / FINISHED)


def _show_plan(sections: dict[str, Any], out: Path, values: dict[str, Any]) -> None:
    import yaml

    from revoxel.core.handlers import LAST
    from revoxel.core.training import planned_network, source_folder
    from revoxel.semivae.learning.measures import opened_fold

    study, fold = opened_fold(values["study"], values["fold"])
    network = planned_network(_BUNDLE, source_folder(_BUNDLE), sections)
    n_weights = sum(part.numel() for part in network.parameters())
    parts = ", ".join(f"{part.name} {part.size}" for part in network.partition.parts)  # type: ignore[union-attr]
    typer.echo(f"{type(network).__name__} ({parts}), {n_weights / 1000:.0f} k weights; nothing is written")
    for split in ("train", "val", "test"):
        patients = getattr(fold, split)
        use = {"train": "to learn from", "val": "to watch", "test": "left out"}[split]
        typer.echo(f"{len(study.scans_of(patients))} scans of {len(patients)} patients {use}")
    typer.echo(f"{out}: {'continue' if (out / LAST).is_file() else 'train'}")
    typer.echo(yaml.safe_dump({**sections, "values": values}, sort_keys=False))


def _show(weights: Path) -> None:
    from rich.console import Console

    from revoxel.cli.semivae_evaluate import gate_table
    from revoxel.core.provenance import read_sidecar
    from revoxel.semivae.learning.finish import VALIDATED

    record = weights.with_name(VALIDATED)
    console = Console()
    console.print(gate_table(read_sidecar(record)["gates"]))
    console.print(f"best weights: {weights}\nvalidation: {record}", soft_wrap=True)
