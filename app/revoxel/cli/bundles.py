"""`revoxel bundles`: build, check and list the MONAI bundles, and adopt trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.options import DebugOption, OverwriteOption

app = typer.Typer(no_args_is_help=True, help="Build, check and list the MONAI bundles.")


@app.command()
def build(debug: DebugOption = False) -> None:
    """Generate every bundle from its sources in configs/; weights stay as they are."""
    from revoxel.core.bundles import build_bundle, bundle_sources

    checkout = _checkout()
    for source in bundle_sources(checkout / "configs"):
        folder = build_bundle(source, checkout / "bundles" / source.name, checkout / "LICENSE")
        typer.echo(f"built {folder.relative_to(checkout)}")


@app.command()
def check(debug: DebugOption = False) -> None:
    """Fail if a bundle differs from what its sources give."""
    from revoxel.core.bundles import bundle_sources, check_bundle

    checkout = _checkout()
    sources = bundle_sources(checkout / "configs")
    bundles = checkout / "bundles"
    found = {path.name for path in bundles.iterdir() if path.is_dir()} if bundles.is_dir() else set()
    problems = sorted(f"{name}: no source" for name in found - {source.name for source in sources})
    for source in sources:
        problems += check_bundle(source, bundles / source.name, checkout / "LICENSE")
    if problems:
        msg = f"bundles must equal their sources, got {', '.join(problems)}; do revoxel bundles build."
        raise ValueError(msg)
    typer.echo(f"{len(sources)} bundles equal their sources")


@app.command(name="list")
def list_(debug: DebugOption = False) -> None:
    """Show the bundles at hand and whether they have weights."""
    from rich.console import Console
    from rich.table import Table

    from revoxel.core.bundles import list_bundles

    table = Table("bundle", "version", "weights", "for")
    for status in list_bundles():
        table.add_row(status.name, status.version, "yes" if status.weights else "no", status.description)
    Console().print(table)


@app.command()
def adopt(
    name: Annotated[str, typer.Argument(help="Bundle, such as sagnef_5mm_t1c.")],
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint of a training run, or its folder for the best one.")
    ],
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a checkpoint the weights of a bundle (its models/model.pt)."""
    from revoxel.sagnef.gates import adopt_checkpoint

    typer.echo(f"wrote {adopt_checkpoint(name, checkpoint, overwrite=overwrite)}")


def _checkout() -> Path:
    from revoxel.core.bundles import repository_root

    checkout = repository_root()
    if checkout is None:
        msg = "bundles must be built in a checkout, got an installed package; clone the project first."
        raise ValueError(msg)
    return checkout
