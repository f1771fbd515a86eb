"""`revoxel asl simulate`: scans whose truth is known, as a BIDS folder."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.asl_parsing import parse_numbers
from revoxel.cli.options import DebugOption, DryRunOption, SeedOption, ThreadsOption
from revoxel.cli.progress import stage_bars

_PLDS_MS = "500,1000,1500,2000,2500,3000"


def simulate(
    out: Annotated[Path, typer.Option("-o", "--out", help="New or empty folder.")],
    kind: Annotated[Literal["folded", "seed", "uniform"], typer.Option(help="Phantoms.")] = "folded",
    subjects: Annotated[int, typer.Option(min=1, max=99, help="Scans.")] = 1,
    slices: Annotated[int, typer.Option(min=1, help="Slices per scan, each a phantom of its own.")] = 8,
    size: Annotated[int, typer.Option(min=16, help="Rows and columns of a slice.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Pairs per delay.")] = 2,
    snr: Annotated[float, typer.Option(help="SNR60 of the average of all repeats.")] = 10.0,
    noise: Annotated[Literal["gaussian", "rician"], typer.Option(help="Thermal noise.")] = "gaussian",
    physics: Annotated[
        Literal["none", "default", "wide"],
        typer.Option(help="How far the true constants vary from those that the sidecars state."),
    ] = "none",
    plds_ms: Annotated[str, typer.Option(help="Delays of PCASL by commas; empty: none.")] = _PLDS_MS,
    vsasl_plds_ms: Annotated[str, typer.Option(help="Delays of VSASL by commas; empty: none.")] = _PLDS_MS,
    labelling_duration_ms: Annotated[float, typer.Option(min=1, help="Of PCASL.")] = 1800.0,
    dry_run: DryRunOption = False,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    debug: DebugOption = False,
) -> None:
    """Simulate ASL scans: control and label images, M0, sidecars, and the true CBF and ATT beside them.

    The folder is valid BIDS; files of VSASL, which BIDS does not know, are named in its .bidsignore. The
    true maps, tissues and constants lie in derivatives/truth.

    Example: revoxel asl simulate -o sim --snr 10, then revoxel asl quantify sim -o out/sim
    """
    from rich.console import Console

    from revoxel.asl.protocol import AslProtocol
    from revoxel.asl.simulation.noise import AslNoise
    from revoxel.asl.simulation.phantom import PhantomConfig
    from revoxel.asl.simulation.physics_range import PhysicsRange
    from revoxel.asl.simulation.simulated_folder import FolderRecipe, refuse_filled, write_folder
    from revoxel.core.compute import set_threads
    from revoxel.core.report import fact_table

    set_threads(threads)
    recipe = FolderRecipe(
        phantom=PhantomConfig(kind, size),
        noise=AslNoise(noise, snr),
        protocol=AslProtocol(
            parse_numbers(plds_ms, "--plds-ms"),
            labelling_duration_ms,
            parse_numbers(vsasl_plds_ms, "--vsasl-plds-ms"),
        ),
        physics=PhysicsRange.named(physics),
        n_subjects=subjects,
        n_slices=slices,
        n_repeats=repeats,
        seed=seed,
    )
    refuse_filled(out)
    if not dry_run:
        with stage_bars() as report:
            write_folder(recipe, out, report)
    facts = {
        "scans": f"{subjects} of {slices} {kind} slices of {size} x {size}, {repeats} pairs per delay",
        "channels": ", ".join(recipe.protocol.labels),
        "noise": f"{noise}, SNR60 {snr:g}: sigma {recipe.noise.sigma:.3g} of M0",
        "written": "nothing (dry run)" if dry_run else str(out),
        "next": f"revoxel asl quantify {out} -o out/asl",
    }
    Console().print(fact_table("Simulated ASL", facts))
