"""`revoxel estimate-profile`: estimate the slice profile's width from the scan alone."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import DebugOption, OverwriteOption, ThreadsOption


def estimate_profile(
    scan: Annotated[Path, typer.Argument(help="Thick-slice NIfTI, NRRD or MHA file, or DICOM folder.")],
    axis: Annotated[
        Literal["auto", "0", "1", "2"], typer.Option(help="Slice axis; auto: the coarsest.")
    ] = "auto",
    json: Annotated[Path | None, typer.Option("--json", help="Write the estimate as JSON too.")] = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Estimate how thick the slices really are, from the scan alone, in about a second.

    The scan is blurred and subsampled along its in-plane axes with candidate profiles until detail along both
    axes is equal. The last line can be handed to --profile of the other verbs.

    Example: revoxel estimate-profile scan.nii.gz
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.core.provenance import sha256_of, write_sidecar
    from revoxel.core.report import fact_table
    from revoxel.core.volumes import read_volume
    from revoxel.experts.estimate_profile import estimate_profile as estimate

    set_threads(threads)
    volume = read_volume(scan)
    result = estimate(volume, None if axis == "auto" else int(axis))
    low, high = result.interval_mm
    facts = {
        "standard deviation": f"{result.std_mm:.2f} mm, 80 % interval {low:.2f} to {high:.2f} mm",
        "equivalent FWHM": f"{result.fwhm_mm:.2f} mm",
        "by in-plane axis": ", ".join(f"{std_mm:.2f} mm" for std_mm in result.reference_std_mm) or "none",
        "tissue inside": f"weight {result.inside_share:.2f} against the head with its outline",
        "confidence": f"{result.confidence:.2f} that the width is within 15 %",
        "use": f"--profile {result.profile.label}"
        + ("" if result.trusted else " (header, not the estimate)"),
    }
    Console().print(fact_table(scan.name, facts))
    if json is not None:
        write_sidecar(
            json, {"input": scan, "sha256": sha256_of(scan), **result.record()}, overwrite=overwrite
        )
