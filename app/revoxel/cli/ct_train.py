"""`revoxel ct train`: one CT network on patches of a prepared study."""

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


def train(
    data: Annotated[Path, typer.Option(help="Study of revoxel ct prepare: study.json or its folder.")],
    model: Annotated[str, typer.Option(help="upsampler, detail or two-view.")] = "upsampler",
    fold: Annotated[
        str, typer.Option(help="Train on this fold's training patients; all: on every patient.")
    ] = "all",
    cfg: Annotated[
        Path | None, typer.Option(help="Configuration (YAML); what it leaves out is as shipped.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Computing time: 10min; default: that of --cfg.")] = None,
    further: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any value of the bundle's train.json; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")] = Path("out/ct_run"),
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Train on a study. The same line again goes on with an interrupted run.

    Writes checkpoints, and a CSV with the loss and the PSNR before and after per epoch; `revoxel ct evaluate`
    scores a run, `revoxel bundles adopt` ships its best weights. The budget counts seconds of computing, so
    that other jobs on the machine change nothing.

    Example: revoxel ct train --data out/set --fold without-p1 --budget 10min -o out/run

    Example: revoxel ct train --model upsampler --data out/set --cfg configs/ct/upsampler.yaml -o out/seed
    """
    from revoxel.core.checkpoints import best_checkpoint
    from revoxel.core.compute import resolve_device, set_threads
    from revoxel.core.training import default_sections, discard_run, read_sections, train_network
    from revoxel.ct.learning.configuration import CtModel

    bundle = _chosen(model, CtModel).bundle
    sections = read_sections(cfg, bundle) if cfg else default_sections(bundle)
    values: dict[str, Any] = {"study": str(data), "fold": fold, "seed": seed}
    values["device"] = f"$torch.device('{resolve_device(device)}')"
    if budget:
        values |= {"budget_s": seconds_of(budget), "epochs": 100_000}
    values |= parse_values(further or [])
    set_threads(threads)
    if dry_run:
        _show_plan(bundle, sections, out, values)
        return
    if overwrite:
        discard_run(out)
    train_network(bundle, sections, out, **values)
    typer.echo(f"best weights: {best_checkpoint(out)}")


def _chosen(name: str, kind: Any) -> Any:
    if name not in list(kind):
        msg = f"--model must be one of {', '.join(kind)}, got {name!r}; choose one."
        raise ValueError(msg)
    return kind(name)


def _show_plan(bundle: str, sections: dict[str, Any], out: Path, values: dict[str, Any]) -> None:
    import yaml

    from revoxel.core.handlers import LAST
    from revoxel.core.training import planned_network, source_folder
    from revoxel.ct.learning.training import opened_study, training_rows

    rows = training_rows(opened_study(values["study"]), values["fold"])
    network = planned_network(bundle, source_folder(bundle), sections)
    n_weights = sum(part.numel() for part in network.parameters())
    typer.echo(f"{type(network).__name__}, {n_weights / 1000:.0f} k weights; nothing is written")
    typer.echo(f"{len(rows)} scans to learn from: {', '.join(row.name for row in rows)}")
    typer.echo(f"{out}: {'continue' if (out / LAST).is_file() else 'train'}")
    typer.echo(yaml.safe_dump({**sections, "values": values}, sort_keys=False))
