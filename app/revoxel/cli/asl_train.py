"""`revoxel asl train`: one ASL network, or the members of an ensemble, on simulated slices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption
from revoxel.cli.parsing import parse_values, seconds_of


def train(
    cfg: Annotated[
        Path | None,
        typer.Option(help="Configuration (YAML), ours or the source's; default: the one shipped."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Computing time of each network: 7min; default: that of --cfg.")
    ] = None,
    members: Annotated[
        int | None, typer.Option(min=1, help="Networks of an ensemble; default: that of --cfg, or 1.")
    ] = None,
    further: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any value of the bundle's train.json; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")] = Path("out/asl_run"),
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Train on simulated slices: no data are needed. The same line again goes on with an interrupted run.

    Writes checkpoints, a CSV per epoch and model.pt, the best network with calibrated standard deviations,
    which `revoxel asl validate` scores and `revoxel bundles adopt` ships. Members of an ensemble lie in
    folders of their own; model.pt is then their mean.

    Example: revoxel asl train --budget 7min -o out/run

    Example: revoxel asl train --cfg configs/asl/production_v2.yaml --budget 1h -o out/production
    """
    from revoxel.asl.learning.configuration import (
        default_sections,
        join_networks,
        read_sections,
        train_network,
    )
    from revoxel.core.compute import resolve_device, set_threads
    from revoxel.core.training import discard_run

    sections = read_sections(cfg) if cfg else default_sections()
    values: dict[str, Any] = {"seed": seed, "device": f"$torch.device('{resolve_device(device)}')"}
    if budget:
        values |= {"budget_s": seconds_of(budget), "epochs": 100_000}
    values |= parse_values(further or [])
    n_members = members or int(sections["inference"].get("members", 1))
    folders = [out / f"member{number}" for number in range(n_members)] if n_members > 1 else [out]
    set_threads(threads)
    if dry_run:
        _show_plan(sections, folders, values)
        return
    for number, folder in enumerate(folders):
        if overwrite:
            discard_run(folder)
        path = train_network(sections, folder, **{**values, "seed": seed + 1000 * number})
        typer.echo(f"wrote {path}")
    if n_members > 1:
        typer.echo(f"wrote {join_networks(sections, folders, out, **values)}")


def _show_plan(sections: dict[str, Any], folders: list[Path], values: dict[str, Any]) -> None:
    import yaml

    from revoxel.asl.network.models import build_network

    network = build_network(sections["network"]["model"], sections["network"]["arguments"])
    n_weights = sum(part.numel() for part in network.parameters())
    typer.echo(f"{sections['network']['model']}, {n_weights / 1000:.0f} k weights; nothing is written")
    for folder in folders:
        typer.echo(f"{folder}: {'continue' if (folder / 'last.pt').is_file() else 'train'}")
    typer.echo(yaml.safe_dump({**sections, "values": values}, sort_keys=False))
