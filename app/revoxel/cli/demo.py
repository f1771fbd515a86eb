"""`revoxel demo`: a first look that needs no data."""

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.options import DebugOption, DeviceOption, OverwriteOption, SeedOption, ThreadsOption
from revoxel.cli.progress import stage_bars


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/demo"),
    dataset: Annotated[
        Path | None, typer.Option(help="Write a tiny training set with its manifest there instead.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Super-resolve simulated 5 mm slices of a packaged brain; table and picture in minutes.

    The brain is the MNI152 average of many heads: it shows what comes out and is no evidence of quality.
    """
    from revoxel.core.compute import set_threads

    set_threads(threads)
    if dataset is not None:
        _training_set(dataset, seed, overwrite=overwrite)
    else:
        _first_look(out, device, seed, overwrite=overwrite)


def _training_set(folder: Path, seed: int, *, overwrite: bool) -> None:
    from revoxel.sagnef.demo_dataset import DatasetSettings, write_dataset

    with stage_bars() as progress:
        manifest = write_dataset(folder, DatasetSettings(seed=seed, overwrite=overwrite), progress=progress)
    bundle = "bundles/sagnef_5mm_t1n"
    typer.echo(f"manifest {manifest}\nTrain on it, from the root of the checkout:")
    typer.echo(
        f"python -m monai.bundle run training --config_file {bundle}/configs/train.json "
        f"--bundle_root {bundle} --manifest {manifest.resolve()} --fold fold0"
    )


def _first_look(out: Path, device: str, seed: int, *, overwrite: bool) -> None:
    from rich.console import Console

    from revoxel.core.report import number_table
    from revoxel.sagnef.demo import NO_EVIDENCE, run_demo
    from revoxel.sagnef.outputs import summary_tables
    from revoxel.sagnef.planning import SuperresolveSettings

    settings = SuperresolveSettings(device=device, seed=seed, overwrite=overwrite)
    with stage_bars() as progress:
        result = run_demo(out, settings, progress=progress)
    console = Console()
    for label, metrics in result.metrics.items():
        assumed = result.results[label].record["profile"]
        title = f"{label} slices, {assumed['source']} FWHM {assumed['fwhm_mm']:.2f} mm, dilated brain mask"
        console.print(number_table(title, metrics, first_column="method"))
    for table in summary_tables(next(iter(result.results.values())).record):
        console.print(table)
    console.print(f"[bold]Note[/bold] {NO_EVIDENCE}")
    console.print(f"Look at  {result.figure}\nnumbers  {result.folder / 'metrics.json'}", soft_wrap=True)
