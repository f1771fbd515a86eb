"""`revoxel experts`: run the super-resolution experts, one volume each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revoxel.cli.options import (
    ColdOption,
    CompanionsOption,
    DebugOption,
    DeviceOption,
    DryRunOption,
    EclareOption,
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

if TYPE_CHECKING:
    from rich.table import Table

    from revoxel.experts.names import Expert
    from revoxel.experts.run import ExpertRequest, ExpertRun


def experts(
    scan: ScanArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")],
    names: Annotated[
        str, typer.Option("--experts", help="Which experts, separated by commas.", metavar="A,B,..")
    ] = "BSPLINE,ECLARE,SMORE,UNIRES",
    profile: ProfileOption = "auto",
    voxel_mm: VoxelOption = "1.0",
    cold: ColdOption = False,
    companions: CompanionsOption = None,
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
    """Super-resolve a thick-slice scan with each expert: one NIfTI and one JSON per expert, on one grid.

    Results that exist and were made with the same settings are kept, so an interrupted run goes on where it
    stopped.

    Example: revoxel experts scan.nii.gz -o out/ --experts BSPLINE,UNIRES --profile rect:5
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.core.volumes import read_volume, volume_stem
    from revoxel.experts.run import ExpertRequest, run_experts

    set_threads(threads)
    request = ExpertRequest(
        volume=read_volume(scan),
        experts=_parse_experts(names),
        profile=parse_profile(profile),
        voxel_mm=parse_voxel_mm(voxel_mm),
        out_dir=out,
        stem=volume_stem(scan),
        cold=cold,
        external=named_tools(eclare_exe, smore_exe, unires_exe),
        companions={pulse: read_volume(path) for pulse, path in parse_companions(companions or []).items()},
        device=device,
        seed=seed,
        overwrite=overwrite,
    )
    console = Console()
    if dry_run:
        console.print(_plan_table(request))
        return
    with stage_bars() as progress:
        run = run_experts(request, progress)
    console.print(_result_table(run))


def _parse_experts(names: str) -> "tuple[Expert, ...]":
    from revoxel.experts.names import Expert

    asked = [name.strip().upper() for name in names.split(",") if name.strip()]
    unknown = sorted(set(asked) - set(Expert))
    if unknown or not asked:
        got = ", ".join(unknown) or "none"
        msg = f"experts must be some of {', '.join(Expert)}, got {got}; correct --experts."
        raise ValueError(msg)
    return tuple(expert for expert in Expert if expert in asked)


def _plan_table(request: "ExpertRequest") -> "Table":
    from revoxel.core.geometry import isotropic_grid, slice_axis
    from revoxel.core.report import fact_table

    axis = slice_axis(request.volume.grid)
    low = request.volume.grid
    grid = isotropic_grid(low, axis, request.voxel_mm)
    facts = {
        "slices": f"{low.shape}, {low.spacing_mm[axis]:g} mm along axis {axis}",
        "result": f"{grid.shape}, " + " x ".join(f"{size_mm:.3g}" for size_mm in grid.spacing_mm) + " mm",
        "profile": request.profile.label if request.profile else "to be estimated",
        **{expert.value: _plan(request, expert) for expert in request.experts},
    }
    return fact_table("Dry run: nothing is written", facts)


def _plan(request: "ExpertRequest", expert: "Expert") -> str:
    path = request.path_of(expert)
    how = str(request.external.get(expert, "embedded"))
    return f"{path} ({'exists' if path.exists() else how})"


def _result_table(run: "ExpertRun") -> "Table":
    from revoxel.core.report import number_table

    rows: dict[str, dict[str, float | str]] = {
        expert.value: {
            "seconds": run.seconds[expert],
            "made by": run.implementations[expert],
            "file": str(run.paths[expert]),
        }
        for expert in run.volumes
    }
    how = "given" if run.estimate is None else f"estimated, confidence {run.estimate.confidence:.2f}"
    return number_table(f"Experts, profile {run.profile.label} ({how})", rows, digits=1)
