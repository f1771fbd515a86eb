"""`revoxel ct refine`: coarse CT in, finer CT out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from revoxel.cli.options import (
    DebugOption,
    DeviceOption,
    DryRunOption,
    MemoryOption,
    OverwriteOption,
    ScanArgument,
    ThreadsOption,
)
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from revoxel.ct.refinement.planning import RefinePlan, RefineSettings
    from revoxel.ct.refinement.run import Refined
    from revoxel.ct.refinement.views import ViewFiles
    from revoxel.ct.xray.geometry import View
    from revoxel.ct.xray.views import ViewOptions

MethodOption = Annotated[
    Literal["auto", "network", "trilinear+projection"],
    typer.Option(help="Who adds detail; auto: the shipped network, or interpolation where there is none."),
]
ViewsUnitOption = Annotated[
    Literal["nepers", "transmission", "display"], typer.Option(help="What the grey values of X-rays are.")
]
GeometryOption = Annotated[
    Path | None, typer.Option(help="JSON of revoxel ct drr that says how the views were taken.")
]
UncertaintyOption = Annotated[
    bool,
    typer.Option("--uncertainty", help="Write the model spread over mirrored scans; four times as slow."),
]
DicomOption = Annotated[
    bool, typer.Option("--dicom-out", help="Write a derived DICOM series as well, beside its source's study.")
]
AllowNoAirOption = Annotated[
    bool, typer.Option("--allow-no-air", help="Accept a scan without air, such as a crop inside the body.")
]


def refine(
    coarse: ScanArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/ct"),
    method: MethodOption = "auto",
    bundle: Annotated[str | None, typer.Option(help="Bundle instead of the shipped one.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Trained weights instead of a bundle's.")] = None,
    frontal: Annotated[Path | None, typer.Option(help="X-ray from the front or back.")] = None,
    lateral: Annotated[Path | None, typer.Option(help="X-ray from the side.")] = None,
    views_unit: ViewsUnitOption = "display",
    geometry: GeometryOption = None,
    flip_frontal: Annotated[bool, typer.Option("--flip-frontal", help="It is upside down.")] = False,
    flip_lateral: Annotated[bool, typer.Option("--flip-lateral", help="It is upside down.")] = False,
    mirror_frontal: Annotated[bool, typer.Option("--mirror-frontal", help="Left is right in it.")] = False,
    mirror_lateral: Annotated[bool, typer.Option("--mirror-lateral", help="Front is back in it.")] = False,
    truth: Annotated[Path | None, typer.Option(help="Fine CT of the same session, to compare with.")] = None,
    uncertainty: UncertaintyOption = False,
    dicom_out: DicomOption = False,
    allow_no_air: AllowNoAirOption = False,
    memory_gb: MemoryOption = 4.0,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Refine a coarse CT: four times finer along every axis, in HU, where it lay.

    The mean of every block of the result is the coarse voxel that it was made of, whoever adds the detail.
    Written: the refined volume, what was added to interpolation, a record, a picture and a page. Results
    that exist and were made from the same files and settings are kept.

    Example: revoxel ct refine coarse.nii.gz -o out/

    Example: revoxel ct refine dicom_folder/ -o out/ --method trilinear+projection

    Example: revoxel ct refine coarse.nii.gz --bundle ct_detail_64 --frontal pa.tiff --lateral lat.tiff
    --views-unit nepers --geometry geometry.json -o out/
    """
    from revoxel.core.compute import set_threads
    from revoxel.ct.refinement.methods import Method, MethodChoice
    from revoxel.ct.refinement.planning import RefineSettings
    from revoxel.ct.xray.view_files import ViewsUnit
    from revoxel.ct.xray.views import ViewOptions

    set_threads(threads)
    settings = RefineSettings(
        choice=MethodChoice(Method(method), bundle, checkpoint, device),
        views=_views(
            frontal,
            lateral,
            ViewOptions(
                unit=ViewsUnit(views_unit),
                flip=_named(flip_frontal, flip_lateral),
                mirror=_named(mirror_frontal, mirror_lateral),
                geometry=geometry,
            ),
        ),
        truth=truth,
        spread=uncertainty,
        dicom_out=dicom_out,
        allow_no_air=allow_no_air,
        memory_gb=memory_gb,
        overwrite=overwrite,
    )
    _carry_out(coarse, out, settings, dry_run=dry_run)


def _carry_out(coarse: Path, out: Path, settings: RefineSettings, *, dry_run: bool) -> None:
    from rich.console import Console

    from revoxel.ct.refinement.planning import plan_refinement
    from revoxel.ct.refinement.run import refine as refine_scan

    console = Console()
    plan = plan_refinement(coarse, out, settings)
    if dry_run:
        _show_plan(console, plan, settings)
    elif not plan.why:
        console.print(f"{plan.paths.stem}: done before, kept ({plan.paths.record})", soft_wrap=True)
    else:
        with stage_bars() as progress:
            refined = refine_scan(plan, settings, progress)
        _show(console, refined)


def _views(frontal: Path | None, lateral: Path | None, options: ViewOptions) -> ViewFiles | None:
    from revoxel.ct.refinement.views import ViewFiles

    if frontal is None and lateral is None:
        return None
    if frontal is None or lateral is None:
        msg = "both views must be given, got one; pass --frontal and --lateral."
        raise ValueError(msg)
    return ViewFiles(frontal, lateral, options)


def _named(frontal: bool, lateral: bool) -> tuple[View, ...]:
    from revoxel.ct.xray.geometry import View

    return tuple(view for view, wanted in zip(View, (frontal, lateral), strict=True) if wanted)


def _show_plan(console: Any, plan: RefinePlan, settings: RefineSettings) -> None:
    from revoxel.core.report import fact_table
    from revoxel.ct.refinement.planning import expected_size

    facts = {role: str(path) for role, path in plan.inputs.items()}
    facts |= {"method": "network" if "network" in plan.inputs else "trilinear+projection"}
    facts |= expected_size(plan, settings)
    facts["result"] = f"{plan.paths.refined} ({plan.why or 'done before, kept'})"
    console.print(fact_table("Dry run: nothing is written", facts))


def _show(console: Any, refined: Refined) -> None:
    from revoxel.core.report import fact_table
    from revoxel.ct.evaluation.tables import score_row
    from revoxel.ct.refinement.page import facts_of

    record, paths = refined.record, refined.paths
    console.print(fact_table(paths.stem, facts_of(record)))
    if "truth" in record:
        scores = score_row(record["truth"]["scores"])
        console.print(fact_table("Against the truth, in the field of view", scores))
    if record["warnings"]:
        numbered = {str(number): text for number, text in enumerate(record["warnings"], start=1)}
        console.print(fact_table("Warnings", numbered))
    written = {
        "volume": paths.refined,
        "added": paths.added_detail,
        "spread": paths.model_spread,
        "DICOM": paths.dicom,
        "picture": paths.picture,
        "report": paths.page,
    }
    for name, path in written.items():
        if path.exists():
            console.print(f"{name:8} {path}", soft_wrap=True)
