"""`revoxel ct simulate`: synthetic chests, to try everything without anyone's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.options import DebugOption, OverwriteOption, SeedOption


def simulate(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/ct_simulated"),
    patients: Annotated[int, typer.Option(min=1, help="How many chests.")] = 2,
    size: Annotated[int, typer.Option(min=16, help="Voxels along every axis.")] = 128,
    spacing_mm: Annotated[float, typer.Option(min=0.1, help="Voxel size.")] = 2.0,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Paint chests with ribs, vessels and lungs, each another patient: chest-00.nii.gz, ... in HU.

    They show that everything works. Figures on them say nothing about patients.

    Example: revoxel ct simulate -o out/chests --patients 3
    """
    from rich.console import Console

    from revoxel.cli.progress import stage_bars
    from revoxel.ct.simulation.thorax_file import write_thorax

    with stage_bars() as progress:
        progress("chests", 0.0)
        for index in range(patients):
            path = out / f"chest-{index:02d}.nii.gz"
            write_thorax(path, size, spacing_mm, seed + index, overwrite=overwrite)
            progress("chests", (index + 1) / patients)
    Console().print(f"written  {patients} chests in {out}", soft_wrap=True)
