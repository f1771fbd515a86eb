"""`revoxel bundles`: build, check, list and pack the MONAI bundles, and adopt trained weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.options import DebugOption, OverwriteOption

#: Systems whose checkpoints need more than a check before they are a bundle's; by their protocol's name.
_OWN_ADOPTION = {"asl": "revoxel.asl.network.models", "sagnef": "revoxel.sagnef.gates"}

app = typer.Typer(no_args_is_help=True, help="Build, check, list and pack the MONAI bundles.")


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
    """Fail if a bundle differs from its sources, or its metadata, network and weights do not fit together."""
    from revoxel.core.bundle_checks import check_fit, check_metadata
    from revoxel.core.bundles import bundles_root, list_bundles

    _refuse_drift()
    bundles = list_bundles()
    for status in bundles:
        folder = bundles_root() / status.name
        check_metadata(folder)
        check_fit(folder, need_weights=False)
    n_weights = sum(status.weights is not None for status in bundles)
    typer.echo(f"{len(bundles)} bundles are as they should be, {n_weights} of them with weights")


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
    from revoxel.core.bundle_checks import wanted_protocol
    from revoxel.core.bundles import bundle_folder

    system = str(wanted_protocol(bundle_folder(name))["system"])
    module = import_module(_OWN_ADOPTION.get(system, "revoxel.core.adoption"))
    typer.echo(f"wrote {module.adopt_checkpoint(name, checkpoint, overwrite=overwrite)}")


@app.command()
def pack(
    names: Annotated[list[str], typer.Argument(help="Bundles, such as sagnef_5mm_t1c.", metavar="NAME...")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the zips.")] = Path(),
    onnx: Annotated[bool, typer.Option("--onnx", help="Add models/model.onnx.")] = False,
    torchscript: Annotated[bool, typer.Option("--torchscript", help="Add models/model.ts.")] = False,
    without_weights: Annotated[
        bool, typer.Option("--without-weights", help="Accept bundles that have no weights.")
    ] = False,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the zip that a model zoo takes: NAME_vVERSION.zip, the same bytes for the same bundle.

    Refused: a bundle that differs from its sources, whose metadata, network and weights do not fit, or that
    has no weights. Example: revoxel bundles pack sagnef_5mm_t1c -o dist/ --onnx
    """
    from revoxel.cli.progress import stage_bars
    from revoxel.core.bundle_export import ExportFormat
    from revoxel.core.bundle_zip import pack_bundle
    from revoxel.core.bundles import bundle_folder
    from revoxel.core.provenance import sha256_of

    formats = [name for name, chosen in zip(ExportFormat, (onnx, torchscript), strict=True) if chosen]
    folders = [bundle_folder(name) for name in names]
    _refuse_drift(names)
    for folder in folders:
        with stage_bars() as report:
            path = pack_bundle(
                folder,
                out,
                formats=formats,
                need_weights=not without_weights,
                overwrite=overwrite,
                report=report,
            )
        typer.echo(f"wrote {path}  {path.stat().st_size / 1e6:.2f} MB  sha256 {sha256_of(path)}")


def _refuse_drift(names: list[str] | None = None) -> None:
    """Stop if bundles of a checkout differ from their sources; an installed package has none."""
    from revoxel.core.bundles import drifted_files, repository_root

    checkout = repository_root()
    problems = drifted_files(checkout, names) if checkout else []
    if problems:
        msg = f"bundles must equal their sources, got {', '.join(problems)}; do revoxel bundles build."
        raise ValueError(msg)


def _checkout() -> Path:
    from revoxel.core.bundles import repository_root

    checkout = repository_root()
    if checkout is None:
        msg = "bundles must be built in a checkout, got an installed package; clone the project first."
        raise ValueError(msg)
    return checkout
