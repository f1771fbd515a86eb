"""`revoxel asl validate`: what a checkpoint of any class is worth on held-out scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import DebugOption, DeviceOption, OverwriteOption, SeedOption, ThreadsOption
from revoxel.cli.progress import stage_bars

_COLUMNS = ("cbf_mae", "att_mae", "cbf_bias", "att_bias", "win_cbf", "win_att", "coverage68", "coverage95")


def validate(
    checkpoints: Annotated[
        list[Path], typer.Argument(help="Checkpoints or folders of runs; several are one ensemble.")
    ],
    snrs: Annotated[str, typer.Option(help="SNR60 of the scans.")] = "5,10,30",
    phantom: Annotated[
        Literal["folded", "seed", "uniform"], typer.Option(help="Kind of the phantoms.")
    ] = "folded",
    phantoms: Annotated[int, typer.Option(min=2, help="Held-out phantoms.")] = 20,
    flips: Annotated[bool, typer.Option("--flips/--no-flips", help="Average over mirror images.")] = True,
    dropout_samples: Annotated[int, typer.Option(min=0, help="Runs with dropout on.")] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Score networks beside the fit over the same voxels; class and switches come from each checkpoint.

    Example: revoxel asl validate out/run
    """
    from rich.console import Console

    from revoxel.asl.evaluation.held_out import ScanRecipe
    from revoxel.asl.evaluation.validation import ValidationSettings, validate, write_metrics
    from revoxel.asl.network.inference import InferenceOptions
    from revoxel.asl.simulation.phantom import PhantomConfig
    from revoxel.cli.asl_parsing import parse_numbers
    from revoxel.core.compute import set_threads
    from revoxel.core.report import number_table

    if out is not None and out.exists() and not overwrite:
        msg = f"{out} must not exist yet, got a file; give --overwrite or another --out."
        raise FileExistsError(msg)
    set_threads(threads)
    settings = ValidationSettings(
        snrs=parse_numbers(snrs, "--snrs"),
        recipe=ScanRecipe(phantom=PhantomConfig(phantom), n_phantoms=phantoms, seed=seed),
        options=InferenceOptions(flips=flips, dropout_samples=dropout_samples, device=device),
    )
    with stage_bars() as report:
        found = validate(checkpoints, settings, report)
    rows: dict[str, dict[str, float | str]] = {
        f"SNR60 {snr}, {method}": {name: values[name] for name in _COLUMNS if name in values}
        for snr, methods in found.items()
        for method, values in methods.items()
    }
    title = f"{phantoms} held-out {phantom} phantoms; ml/100g/min and ms; wins against the fit"
    Console().print(number_table(title, rows, digits=3, first_column="method"))
    if out is not None:
        typer.echo(f"wrote {write_metrics(found, out)}")
