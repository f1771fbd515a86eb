"""Progress bars of the long verbs: one line per stage, on stderr so that results can be piped."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID


@contextmanager
def stage_bars() -> Iterator[Callable[[str, float], None]]:
    """Show one bar per stage while the block runs.

    Yields:
        Function to call with the name of a stage and its share done, 0 to 1.
    """
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def report(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=share)

        yield report
