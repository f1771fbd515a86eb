"""What a fusion prints: one screen, ending with where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from revoxel.sagnef.outputs import Result


def show_result(result: Result) -> None:
    """Print what was found, which expert ruled where, warnings, and the files to look at.

    Args:
        result: Of the main job or of `predict`.
    """
    from rich.console import Console

    from revoxel.sagnef.outputs import summary_tables

    console = Console()
    for table in summary_tables(result.record):
        console.print(table)
    console.print(f"volume   {result.paths.fused}\npicture  {result.paths.figure}", soft_wrap=True)
