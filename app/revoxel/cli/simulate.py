"""`revoxel simulate`: make a thick-slice scan from a high-resolution one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import DebugOption, DryRunOption, OverwriteOption, SeedOption, ThreadsOption


def simulate(
    volume: Annotated[Path, typer.Argument(help="High-resolution NIfTI, NRRD or MHA file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Thick-slice NIfTI; a JSON goes beside it.")],
    profile: Annotated[
        str, typer.Option(help="Slice profile: gauss:FWHM, rect:WIDTH, slr:WIDTH (mm) or FILE.npy.")
    ] = "gauss:5",
    separation_mm: Annotated[
        float | None,
        typer.Option(help="Distance between slice centres; default: the profile's width, so no gap."),
    ] = None,
    axis: Annotated[
        Literal["auto", "0", "1", "2"],
        typer.Option(help="Array axis that becomes thick; auto: the coarsest, else nearest head-foot."),
    ] = "auto",
    noise: Annotated[
        float,
        typer.Option(
            min=0.0, help="Gaussian noise: standard deviation as a fraction of the 99.9th percentile."
        ),
    ] = 0.0,
    dry_run: DryRunOption = False,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Acquire a volume again with thick slices: blur once, sample at slice centres, right affine.

    Odd lengths are padded by repeating the last sample, never shifted or trimmed. The JSON states thickness,
    profile, separation and the original grid.

    Example: revoxel simulate t1.nii.gz -o thick.nii.gz --profile rect:4 --separation-mm 5
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.core.report import fact_table
    from revoxel.core.volumes import read_volume
    from revoxel.experts.profiles import SliceProfile
    from revoxel.experts.simulate import Acquisition, default_axis, nominal_thickness_mm, write_simulation

    set_threads(threads)
    fine = read_volume(volume)
    slice_profile = SliceProfile.parse(profile)
    acquisition = Acquisition(
        profile=slice_profile,
        separation_mm=separation_mm or nominal_thickness_mm(slice_profile),
        axis=default_axis(fine.grid) if axis == "auto" else int(axis),
        noise_std=noise,
        seed=seed,
    )
    if not dry_run:
        write_simulation(fine, acquisition, out, overwrite=overwrite)
    facts = {
        "from": str(volume),
        "profile": f"{slice_profile.label}, standard deviation {slice_profile.std_mm:.3g} mm",
        "separation": f"{acquisition.separation_mm:g} mm along axis {acquisition.axis}",
        "written": "nothing (dry run)" if dry_run else str(out),
    }
    Console().print(fact_table("Simulated thick slices", facts))
