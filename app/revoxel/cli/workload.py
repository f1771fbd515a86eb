"""Carry out the workload of a cohort on a terminal: what would be done, how it goes, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from revoxel.cli.cluster_options import stopped_tidily
from revoxel.cli.errors import EXIT_CODE_INCOMPLETE

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from revoxel.cohort.cluster import ClusterSettings
    from revoxel.cohort.ledger import Ledger
    from revoxel.cohort.workload import Workload

_MOST_LINES = 20


def carry_out(workload: Workload, cluster: ClusterSettings, *, dry_run: bool) -> None:
    """Run a workload, or say what would be done.

    Args:
        workload: What a system plans to do.
        cluster: Which workers.
        dry_run: Write nothing.

    Raises:
        Exit: With code 1 if a task failed, 130 if the user stopped the run.
    """
    from rich.console import Console

    from revoxel.cohort.board import Board
    from revoxel.cohort.run import run_workload

    console = Console()
    if dry_run:
        _show_plan(workload, console)
        return
    with stopped_tidily(), Board(console, workload.title) as board:
        ledger = run_workload(workload, cluster, board)
    show_end(ledger, workload.out, console)


def _show_plan(workload: Workload, console: Console) -> None:
    from revoxel.core.report import number_table

    rows: dict[str, dict[str, float | str]] = {
        piece.name: {
            "to do": "cannot run" if piece.problem else ("run" if piece.why else "-"),
            "why": piece.problem or piece.why or "done before",
            "folder": piece.folder,
        }
        for piece in workload.pieces
    }
    n_todo = sum(bool(piece.why) for piece in workload.pieces)
    title = f"Dry run: {n_todo} of {len(workload.pieces)} tasks to do, nothing is written"
    console.print(number_table(title, rows, first_column="task"))


def show_end(ledger: Ledger, out: Path, console: Console) -> None:
    """Say how a run ended and where its account lies.

    Args:
        ledger: The account.
        out: Root of the results.
        console: Where to say it.

    Raises:
        Exit: With code 1 if a task failed.
    """
    from revoxel.cohort.board import counts_line
    from revoxel.cohort.ledger import COHORT_FILE, FAILURES_FILE

    console.print(counts_line(ledger))
    failed = ledger.failed()
    for name, entry in list(failed.items())[:_MOST_LINES]:
        typer.secho(f"failed: {name}: {entry.reason}", err=True, fg="red")
    if len(failed) > _MOST_LINES:
        typer.secho(f"and {len(failed) - _MOST_LINES} more", err=True, fg="red")
    console.print(f"account  {out / COHORT_FILE}", soft_wrap=True)
    if failed:
        console.print(f"failures {out / FAILURES_FILE}", soft_wrap=True)
        raise typer.Exit(EXIT_CODE_INCOMPLETE)
