"""`revoxel experts`: run the super-resolution experts, one volume each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from revoxel.cli.errors import EXIT_CODE_INCOMPLETE
from revoxel.cli.options import (
    ColdOption,
    CompanionsOption,
    DebugOption,
    DeviceOption,
    DryRunOption,
    EclareOption,
    OverwriteOption,
    ProfileOption,
    SeedOption,
    SmoreOption,
    ThreadsOption,
    UniresOption,
)
from revoxel.cli.parsing import named_tools, parse_companions, parse_experts, parse_profile, parse_voxel_mm
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from rich.table import Table

    from revoxel.experts.names import Expert
    from revoxel.experts.run import ExpertRequest, ExpertRun
    from revoxel.sagnef.study.fill import FillSettings

OneScanArgument = Annotated[
    Path | None, typer.Argument(help="NIfTI, NRRD or MHA file, or a DICOM series folder.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Output folder; rows of a manifest: default beside each scan."),
]
ManifestOption = Annotated[Path | None, typer.Option(help="Fill in what this manifest's rows lack.")]
NamesOption = Annotated[
    str, typer.Option("--experts", help="Which experts, separated by commas.", metavar="A,B,..")
]
SizeOption = Annotated[
    str,
    typer.Option(
        help="Isotropic voxel size in mm; native: the in-plane size; auto: 1.0, in a manifest the truth's."
    ),
]


def experts(
    scan: OneScanArgument = None,
    out: OutOption = None,
    manifest: ManifestOption = None,
    names: NamesOption = "BSPLINE,ECLARE,SMORE,UNIRES",
    profile: ProfileOption = "auto",
    voxel_mm: SizeOption = "auto",
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
    """Super-resolve a thick-slice scan, or every row of a manifest, with each expert.

    One NIfTI and one JSON per expert, on one grid. Results that exist and were made with the same settings
    are kept, so an interrupted run goes on where it stopped.

    With --manifest, each row's missing experts are made with the row's slice profile, beside its scan or
    below -o, and entered in the manifest. A row that fails does not stop the others (exit code 1). Start the
    command several times, on one machine or on many, and they share the rows.

    Example: revoxel experts scan.nii.gz -o out/ --experts BSPLINE,UNIRES --profile rect:5

    Example: revoxel experts --manifest study/kfolds_manifest.json
    """
    from revoxel.core.compute import set_threads
    from revoxel.sagnef.study.fill import FillSettings

    set_threads(threads)
    size_mm: float | Literal["auto"] | None = "auto" if voxel_mm == "auto" else parse_voxel_mm(voxel_mm)
    settings = FillSettings(
        experts=parse_experts(names),
        voxel_mm=size_mm,
        out_dir=out,
        cold=cold,
        external=named_tools(eclare_exe, smore_exe, unires_exe),
        device=device,
        seed=seed,
        overwrite=overwrite,
    )
    if manifest is None:
        _run_scan(_request(scan, settings, profile, companions or []), dry_run=dry_run)
    elif scan is not None or profile != "auto" or companions:
        msg = "--manifest must stand without a scan, --profile and --with, got one of them; leave it out."
        raise ValueError(msg)
    else:
        _fill(manifest, settings, dry_run=dry_run)


def _request(
    scan: Path | None, settings: "FillSettings", profile: str, companions: list[str]
) -> "ExpertRequest":
    from revoxel.core.volumes import read_volume, volume_stem
    from revoxel.experts.run import ExpertRequest

    if scan is None or settings.out_dir is None:
        msg = "revoxel experts must have a scan and -o FOLDER, or --manifest FILE, got neither; give one."
        raise ValueError(msg)
    return ExpertRequest(
        volume=read_volume(scan),
        experts=settings.experts,
        profile=parse_profile(profile),
        voxel_mm=1.0 if settings.voxel_mm == "auto" else settings.voxel_mm,
        out_dir=settings.out_dir,
        stem=volume_stem(scan),
        cold=settings.cold,
        external=settings.external,
        companions={pulse: read_volume(path) for pulse, path in parse_companions(companions).items()},
        device=settings.device,
        seed=settings.seed,
        overwrite=settings.overwrite,
    )


def _run_scan(request: "ExpertRequest", *, dry_run: bool) -> None:
    from rich.console import Console

    from revoxel.experts.run import run_experts

    console = Console()
    if dry_run:
        console.print(_plan_table(request))
        return
    with stage_bars() as progress:
        run = run_experts(request, progress)
    console.print(_result_table(run))


def _fill(path: Path, settings: "FillSettings", *, dry_run: bool) -> None:
    from rich.console import Console

    from revoxel.core.manifest import load_manifest
    from revoxel.core.report import fact_table
    from revoxel.sagnef.study.fill import fill_experts, missing_experts, row_name

    console = Console()
    manifest = load_manifest(path)
    todo = missing_experts(manifest, settings)
    n_rows = len(manifest.cases)
    if dry_run or not todo:
        what = {row_name(manifest.cases[row]): ", ".join(experts) for row, experts in todo.items()}
        console.print(fact_table("Dry run: to be made", what) if todo else f"all {n_rows} rows have theirs")
        return
    with stage_bars() as progress:
        filled = fill_experts(path, settings, progress)
    for name, reason in filled.failed.items():
        console.print(f"[red]-[/red] {escape(f'{name}: {reason}')}", soft_wrap=True)
    for name in filled.elsewhere:
        console.print(f"[yellow]-[/yellow] {escape(name)}: another process is working on it")
    console.print(f"{len(filled.made)} rows filled, {len(filled.failed)} failed: {path}", soft_wrap=True)
    if filled.failed:
        raise typer.Exit(EXIT_CODE_INCOMPLETE)


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
