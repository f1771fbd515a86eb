"""`revoxel ct drr`: the X-rays that a CT would give."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption


def drr(
    ct: Annotated[Path, typer.Argument(help="NIfTI, NRRD or MHA file, or a DICOM series folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path(),
    geometry: Annotated[Literal["cone", "parallel"], typer.Option(help="How rays run.")] = "cone",
    source_to_isocentre_mm: Annotated[
        float, typer.Option(help="From the source to the middle of the volume; of a cone.")
    ] = 850.0,
    source_to_detector_mm: Annotated[
        float, typer.Option(help="From the source to the detector; of a cone.")
    ] = 1020.0,
    pixel_mm: Annotated[
        float | None, typer.Option(help="Side of a pixel on the detector; default: the volume fills it.")
    ] = None,
    size: Annotated[int, typer.Option(min=2, max=4096, help="Pixels per side.")] = 256,
    file_format: Annotated[
        Literal["tiff", "nii.gz"], typer.Option("--format", help="Of the views in nepers.")
    ] = "tiff",
    allow_no_air: Annotated[
        bool, typer.Option("--allow-no-air", help="Accept a CT without air, such as a crop inside the body.")
    ] = False,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """X-ray a CT from behind (PA) and from its right (left lateral).

    Written: both views in nepers (line integrals), copies to look at, the geometry that reads them back, and
    a record. The volume is not resampled; its centre is the isocentre.

    Example: revoxel ct drr chest.nii.gz -o out/
    """
    from rich.console import Console

    from revoxel.core.compute import resolve_device, set_threads
    from revoxel.core.report import fact_table
    from revoxel.ct.xray.drr import DrrPlan, ViewFormat, check_plan, make_drr, write_drr
    from revoxel.ct.xray.geometry import XrayGeometry

    set_threads(threads)
    xray = XrayGeometry(geometry, source_to_isocentre_mm, source_to_detector_mm, pixel_mm, size)
    plan = DrrPlan(ct, out, xray, ViewFormat(file_format), allow_no_air, overwrite)
    check_plan(plan)
    facts = {"CT": str(ct), "geometry": f"{geometry}, {size} x {size} pixels"}
    if dry_run:
        facts["would write"] = ", ".join(path.name for path in plan.results)
        Console().print(fact_table("X-rays (dry run)", facts))
        return
    made = make_drr(plan, resolve_device(device))
    frontal, lateral = (f"{image.max():.2f}" for image in made.views)
    facts |= {
        "pixel": f"{made.geometry.pixel_mm:.3f} mm on the detector",
        "most absorbing ray": f"{frontal} nepers frontal, {lateral} lateral",
        "written": "\n".join(map(str, write_drr(plan, made))),
    }
    Console().print(fact_table("X-rays", facts))
