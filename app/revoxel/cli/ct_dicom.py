"""`revoxel ct dicom`: a CT as a derived DICOM series."""

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.options import DebugOption, DryRunOption


def dicom(
    volume: Annotated[Path, typer.Argument(help="CT in HU: NIfTI, NRRD or MHA file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New or empty folder of the slices.")],
    source: Annotated[
        Path | None,
        typer.Option(help="Folder of the DICOM series that it was made of; without one nobody is named."),
    ] = None,
    dry_run: DryRunOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a refined CT as a DICOM series beside its source: derived, new UIDs, research use.

    Patient, study and frame of reference are the source's, so that a viewer lays one over the other.

    Example: revoxel ct dicom out/chest_refined.nii.gz --source scans/chest -o out/series
    """
    from rich.console import Console

    from revoxel.core.report import fact_table
    from revoxel.core.volumes import read_volume
    from revoxel.ct.scans.dicom_series import check_series, write_dicom_series
    from revoxel.ct.scans.transforms import check_hu

    ct = read_volume(volume)
    check_hu(ct.data[None], str(volume), allow_no_air=True)
    check_series(ct.grid, source, out)
    if not dry_run:
        write_dicom_series(ct.data, ct.grid.affine, source, out)
    facts = {
        "volume": str(volume),
        "patient and study of": "nobody" if source is None else str(source),
        "written": "nothing (dry run)" if dry_run else str(out),
    }
    Console().print(fact_table("Derived DICOM series", facts))
