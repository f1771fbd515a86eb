"""`revoxel superresolve`: a thick-slice scan in, a fused isotropic volume out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import (
    ColdOption,
    CompanionsOption,
    ConsistencyOption,
    DebugOption,
    DeviceOption,
    DryRunOption,
    EclareOption,
    ExactOption,
    ExtrapolationOption,
    KeepExpertsOption,
    MemoryOption,
    OverwriteOption,
    ProfileOption,
    ScanArgument,
    SeedOption,
    SmoreOption,
    ThreadsOption,
    UniresOption,
    VoxelOption,
)
from revoxel.cli.parsing import named_tools, parse_companions, parse_profile, parse_voxel_mm
from revoxel.cli.progress import stage_bars
from revoxel.cli.results import show_result


def superresolve(
    scan: ScanArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path(),
    pulse: Annotated[str, typer.Option(help="t1c, t1n, t2f or t2w; auto reads name or sidecar.")] = "auto",
    profile: ProfileOption = "auto",
    voxel_mm: VoxelOption = "1.0",
    fusion: Annotated[
        Literal["gate", "simplex", "mean"],
        typer.Option(help="simplex: one weight per expert for the volume."),
    ] = "gate",
    allow_extrapolation: ExtrapolationOption = False,
    exact: ExactOption = False,
    consistency: ConsistencyOption = True,
    keep_experts: KeepExpertsOption = True,
    cold: ColdOption = False,
    companions: CompanionsOption = None,
    memory_gb: MemoryOption = 0.5,
    eclare_exe: EclareOption = None,
    smore_exe: SmoreOption = None,
    unires_exe: UniresOption = None,
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
    from revoxel.sagnef.outputs import plan_table
    from revoxel.sagnef.pipeline import carry_out
    from revoxel.sagnef.planning import FusionKind, SuperresolveSettings, plan_superresolve

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
        external=named_tools(eclare_exe, smore_exe, unires_exe),
        cold=cold,
        memory_gb=memory_gb,
        device=device,
        seed=seed,
        overwrite=overwrite,
    )
    set_threads(threads)
    plan = plan_superresolve(scan, out, settings)
    if dry_run:
        Console().print(plan_table(plan))
        return
    with stage_bars() as progress:
        result = carry_out(plan, settings, progress=progress)
    show_result(result)
