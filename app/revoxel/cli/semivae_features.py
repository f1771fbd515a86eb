"""`revoxel semivae features`: label maps in, one table of tumour features out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from revoxel.cli.errors import EXIT_CODE_INCOMPLETE
from revoxel.cli.options import DebugOption, DryRunOption, OverwriteOption, VoxelOption
from revoxel.cli.parsing import parse_voxel_mm
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from revoxel.semivae.features.precompute import Precomputed

_MOST_LINES = 10


def features(
    study: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Study file, JSON (docs/semivae_features.md).")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Table: .parquet or .json.")] = Path(
        "table.parquet"
    ),
    voxel_mm: VoxelOption = "1.875",
    size: Annotated[int, typer.Option(min=1, help="Voxels along the side of the network's cube.")] = 128,
    mesh: Annotated[
        Literal["binary", "smooth"], typer.Option(help="binary: IBSI; smooth: a sphere has sphericity 0.99.")
    ] = "binary",
    origin: Annotated[
        Literal["image_center", "world"], typer.Option(help="Where centroids are measured from.")
    ] = "image_center",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")] = None,
    dry_run: DryRunOption = False,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure volume, place and shape of every tumour of a study.

    One row per scan with the SHA-256 of its label map. Rows whose label map is unchanged are kept, so an
    interrupted run goes on where it stopped. The volume is also measured on the network's grid (--voxel-mm,
    --size; native: not): a change above 20 % is an error. A scan that fails does not stop the others (exit
    code 1).

    Example: revoxel semivae features study.json -o table.parquet

    Example: revoxel semivae features study.json -o table.json --voxel-mm native --workers 4
    """
    from revoxel.core.compute import n_cores
    from revoxel.semivae.features.precompute import PrecomputeSettings, precompute_features, record_path
    from revoxel.semivae.features.record import FeatureSettings, Mesh, Origin
    from revoxel.semivae.features.resampled import NetworkGrid
    from revoxel.semivae.features.table import check_table_path
    from revoxel.semivae.study import read_study

    tumours = read_study(study)
    check_table_path(out)
    if study.resolve() in {out.resolve(), record_path(out).resolve()}:
        msg = f"--out must not replace the study file {study}, got {out}; use -o table{out.suffix}."
        raise ValueError(msg)
    length_mm = parse_voxel_mm(voxel_mm)
    settings = PrecomputeSettings(
        features=FeatureSettings(mesh=Mesh(mesh), origin=Origin(origin)),
        grid=None if length_mm is None else NetworkGrid(length_mm, size),
        n_workers=workers or n_cores(),
        overwrite=overwrite,
    )
    if dry_run:
        absent = [scan.scan_id for scan in tumours.scans if not tumours.resolve(scan.label).is_file()]
        patients = {scan.patient_id for scan in tumours.scans}
        typer.echo(
            f"{len(tumours.scans)} scans of {len(patients)} patients -> {out}; "
            f"label maps absent: {', '.join(absent) or 'none'}"
        )
        return
    with stage_bars() as progress:
        result = precompute_features(tumours, out, settings, lambda share: progress("features", share))
    _show(result, out)


def _show(result: Precomputed, out: Path) -> None:
    from rich.console import Console

    from revoxel.semivae.features.precompute import record_path

    console = Console()
    for colour, lines in (("yellow", result.warnings), ("red", result.failed)):
        for name, words in list(lines.items())[:_MOST_LINES]:
            console.print(f"[{colour}]-[/{colour}] {escape(f'{name}: {words}')}", soft_wrap=True)
        if len(lines) > _MOST_LINES:
            console.print(f"  and {len(lines) - _MOST_LINES} more, see {record_path(out)}")
    n_rows = len(result.table.rows)
    console.print(f"{n_rows} scans measured ({result.n_kept} kept), {len(result.failed)} failed")
    if n_rows:
        console.print(f"table    {out}", soft_wrap=True)
    if result.failed:
        raise typer.Exit(EXIT_CODE_INCOMPLETE)
