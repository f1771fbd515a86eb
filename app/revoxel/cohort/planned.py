"""Pieces whose system plans before it works: a plan says where results go and why they have to be made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from revoxel.cohort.workspace import workspace
from revoxel.core.compute import set_threads
from revoxel.core.reasons import one_line
from revoxel.core.staging import move_together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from revoxel.cohort.workload import Piece


class Plan(Protocol):
    """What a system's planning gives; `paths` is a dataclass with `folder`, `record` and `existing()`."""

    @property
    def paths(self) -> Any:
        """Where results go."""

    @property
    def why(self) -> str:
        """Why they have to be made; empty if they are there."""


def planned(piece: Piece, make_plan: Callable[[], Plan], cohort: Any, *, overwrite: bool) -> Piece:
    """Plan a piece of work.

    Args:
        piece: Without arguments, record and reason.
        make_plan: Raises `ValueError` or `OSError` if the scan cannot be used.
        cohort: Goes to the worker beside the plan.
        overwrite: Whether finished results are made again.

    Returns:
        The piece with its plan, or with its problem.
    """
    try:
        plan = make_plan()
    except (ValueError, OSError) as error:
        return replace(piece, problem=one_line(error))
    return replace(
        piece,
        job=replace(piece.job, arguments=(plan, cohort)),
        record=f"{piece.folder}/{plan.paths.record.name}",
        why="--overwrite" if overwrite else plan.why,
    )


def work_aside(plan: Any, out: Path, threads: int | None, work: Callable[[Any], object]) -> None:
    """Worker: carry out a plan in a folder of its own, then move the files.

    Args:
        plan: A dataclass as `Plan` says.
        out: Root of the results.
        threads: Processor threads; None leaves the worker's own number.
        work: Called with the plan, whose results go to the folder.

    Raises:
        ValueError: If the scan cannot be used.
        OSError: If a file cannot be read or written; older results are still there then.
    """
    set_threads(threads)
    paths = plan.paths
    with workspace(out, paths.stem) as folder:
        work(replace(plan, paths=replace(paths, folder=folder)))
        move_together(folder, paths.folder, paths.record.name, paths.existing())
