"""`revoxel axis-check`: tell which axes of a volume are truly high-resolution."""

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.options import DebugOption, OverwriteOption, ThreadsOption


def axis_check(
    volumes: Annotated[list[Path], typer.Argument(help="NIfTI, NRRD or MHA files, or DICOM folders.")],
    json: Annotated[Path | None, typer.Option("--json", help="Write the numbers as JSON too.")] = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell whether an axis was acquired thick and interpolated later.

    Many "1 mm" volumes are thick scans that were resampled; as a reference they reward blur. Each axis is
    blurred threefold and restored: one that is 5 dB easier than the others, or whose second differences are
    much smaller (log ratio below -0.6), was thick. A reference should stay above -0.3 on its slice axis.

    Example: revoxel axis-check t1c.nii.gz flair.nii.gz
    """
    from dataclasses import asdict

    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.core.provenance import write_sidecar
    from revoxel.core.report import number_table
    from revoxel.core.volumes import read_volume
    from revoxel.experts.axis_check import Detail
    from revoxel.experts.axis_check import axis_check as check

    set_threads(threads)
    console = Console()
    results = {}
    for path in volumes:
        result = check(read_volume(path))
        results[str(path)] = asdict(result)
        rows = {
            f"axis {axis}": {
                "mm": result.spacing_mm[axis],
                "restored dB": result.psnr_db[axis],
                "log ratio": result.log_ratio[axis],
                "detail": result.detail[axis].value,
            }
            for axis in range(3)
        }
        console.print(number_table(path.name, rows, digits=2))
        good = all(detail is Detail.FINE for detail in result.detail)
        console.print(
            f"[green]{result.verdict}[/green]" if good else f"[yellow]warning:[/yellow] {result.verdict}"
        )
    if json is not None:
        write_sidecar(json, {"volumes": results}, overwrite=overwrite)
