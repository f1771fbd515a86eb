"""`revoxel superresolve`: a thick-slice scan in, a fused isotropic volume out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import (
    DebugOption,
    DeviceOption,
    DryRunOption,
    OverwriteOption,
    SeedOption,
    ThreadsOption,
)
from revoxel.cli.parsing import parse_companions, parse_profile, parse_voxel_mm
from revoxel.cli.progress import stage_bars

EXTERNAL = "Original tools (run in their own environment instead of the embedded experts)"


def superresolve(
    scan: Annotated[Path, typer.Argument(help="NIfTI, NRRD or MHA file, or a DICOM series folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path(),
    pulse: Annotated[str, typer.Option(help="t1c, t1n, t2f or t2w; auto reads name or sidecar.")] = "auto",
    profile: Annotated[
        str, typer.Option(help="Slice profile: auto, gauss:FWHM, rect:WIDTH, slr:WIDTH (mm) or FILE.npy.")
    ] = "auto",
    voxel_mm: Annotated[
        str, typer.Option(help="Isotropic voxel size in mm, or native for the in-plane size.")
    ] = "1.0",
    fusion: Annotated[
        Literal["gate", "simplex", "mean"],
        typer.Option(help="simplex: one weight per expert for the volume."),
    ] = "gate",
    allow_extrapolation: Annotated[
        bool, typer.Option("--allow-extrapolation", help="Accept slices closer than 2 or farther than 9 mm.")
    ] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Reference path of the gate (slower).")] = False,
    consistency: Annotated[
        bool, typer.Option("--consistency/--no-consistency", help="Pull the result onto the slices.")
    ] = True,
    keep_experts: Annotated[
        bool, typer.Option("--keep-experts/--no-keep-experts", help="Keep the experts' volumes.")
    ] = True,
    cold: Annotated[bool, typer.Option("--cold", help="Do without the shipped warm starts.")] = False,
    companions: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="Further pulse of the patient, PULSE=FILE; repeatable.", metavar="PULSE=FILE"
        ),
    ] = None,
    memory_gb: Annotated[float, typer.Option(min=0.1, help="Bound for the gate's activations.")] = 1.0,
    eclare_exe: Annotated[Path | None, typer.Option(help="run-eclare.", rich_help_panel=EXTERNAL)] = None,
    smore_exe: Annotated[Path | None, typer.Option(help="run-smore.", rich_help_panel=EXTERNAL)] = None,
    unires_exe: Annotated[Path | None, typer.Option(help="unires.", rich_help_panel=EXTERNAL)] = None,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn a thick-slice scan into a fused isotropic volume.

    The slice profile is estimated from the scan, four experts super-resolve it, a gate decides per voxel
    whom to trust, and the result is pulled onto the measured slices. Written beside the volume: weights,
    dominant expert, entropy, the experts' volumes, a picture and a JSON record.

    Example: revoxel superresolve scan.nii.gz --pulse t1c -o out/
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.experts.names import Expert
    from revoxel.sagnef.outputs import plan_table, summary_tables
    from revoxel.sagnef.pipeline import carry_out
    from revoxel.sagnef.planning import FusionKind, SuperresolveSettings, plan_superresolve

    executables = {Expert.ECLARE: eclare_exe, Expert.SMORE: smore_exe, Expert.UNIRES: unires_exe}
    settings = SuperresolveSettings(
        pulse=pulse,
        profile=parse_profile(profile),
        voxel_mm=parse_voxel_mm(voxel_mm),
        fusion=FusionKind(fusion),
        allow_extrapolation=allow_extrapolation,
        exact=exact,
        consistency=consistency,
        keep_experts=keep_experts,
        companions=parse_companions(companions or []),
        external={expert: path for expert, path in executables.items() if path is not None},
        cold=cold,
        memory_gb=memory_gb,
        device=device,
        seed=seed,
        overwrite=overwrite,
    )
    set_threads(threads)
    plan = plan_superresolve(scan, out, settings)
    console = Console()
    if dry_run:
        console.print(plan_table(plan))
        return
    with stage_bars() as progress:
        result = carry_out(plan, settings, progress=progress)
    for table in summary_tables(result.record):
        console.print(table)
    console.print(f"volume   {result.paths.fused}\npicture  {result.paths.figure}", soft_wrap=True)
