"""The hidden folder of a run: who has the results for himself, and where a task works until it is whole."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE_FOLDER = ".cohort"
_WORK_FOLDER = "work"


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Have a folder of results for oneself, cleared of what killed workers left.

    Args:
        out: Root of the results.

    Raises:
        ValueError: If another run is at work there.
        OSError: If it cannot be written.
    """
    state = out / STATE_FOLDER
    state.mkdir(parents=True, exist_ok=True)
    lock = FileLock(state / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        msg = f"{out} must have one run at a time, got a second; wait for the first or choose another -o."
        raise ValueError(msg) from error
    try:
        shutil.rmtree(state / _WORK_FOLDER, ignore_errors=True)
        yield
    finally:
        lock.release()


@contextmanager
def workspace(out: Path, task: str) -> Iterator[Path]:
    """Have a folder for one task; what is left in it at the end is removed.

    Args:
        out: Root of the results; the folder is on the same file system, so that files can be moved.
        task: Name of the task.

    Yields:
        The empty folder.

    Raises:
        OSError: If it cannot be made.
    """
    work = out / STATE_FOLDER / _WORK_FOLDER / f"{task}-{uuid4().hex[:8]}"
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
