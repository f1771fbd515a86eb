"""`revoxel report`: one page about a folder of results."""

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.errors import EXIT_CODE_INCOMPLETE
from revoxel.cli.options import DebugOption, OverwriteOption, ThreadsOption
from revoxel.cli.progress import stage_bars


def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of superresolve, predict, cohort or evaluate.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The page; by default RUN_DIR/report.html.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest that names the truths; by default the cohort's own.")
    ] = None,
    max_viewers: Annotated[
        int, typer.Option(min=0, help="Interactive viewers, for the worst cases first (about 2 MB each).")
    ] = 20,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Write one HTML page about a folder of results: pictures, weights, numbers, an interactive viewer.

    The page needs no network and no other file. All runs come first, the worst cases on top, then one part
    per run: slices, errors and metrics (if a manifest names the truth), weights, warnings. What cannot be
    shown is listed on the page and here, and the exit code is 1.

    Example: revoxel report out/ --manifest study/kfolds_manifest.json
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.sagnef.report.build import ReportRequest, write_report

    set_threads(threads)
    request = ReportRequest(run_dir, out or run_dir / "report.html", manifest, max_viewers, overwrite)
    with stage_bars() as progress:
        written = write_report(request, progress)
    size_mb = written.path.stat().st_size / 1e6
    Console().print(f"{written.n_runs} run(s), {size_mb:.1f} MB: {written.path}", soft_wrap=True)
    for name, reason in written.failures.items():
        typer.secho(f"not shown: {name}: {reason}", err=True, fg="red")
    if written.failures:
        raise typer.Exit(EXIT_CODE_INCOMPLETE)
