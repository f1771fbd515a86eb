"""Jobs for worker processes: importable there, because the tests' folder is on the path."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from revoxel.cohort.plan import Task, VerbSettings
from revoxel.cohort.verbs import carry_out


def double(number: int) -> int:
    """Something to compute."""
    return 2 * number


def fail(kind: str) -> None:
    """Fail in one of the ways that a task fails in."""
    if kind == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.nii.gz")
    raise {"value": ValueError, "odd": RuntimeError}[kind]("x must be y, got z; do w.")


def environment(name: str) -> str | None:
    """What a worker was told."""
    return os.environ.get(name)


def die_once(folder: str) -> str:
    """Die at the first attempt."""
    mark = Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        os._exit(9)
    return "second attempt"


def wait_to_be_killed(task: Task, settings: VerbSettings) -> Any:
    """Patient p1's task begins, leaves half a file, says which process it is in, and goes on for minutes."""
    marker = settings.out / "pid"
    if task.row.patient != "p1" or marker.exists():
        return carry_out(task, settings)
    work = settings.out / ".cohort" / "work" / f"{task.name}-begun"
    work.mkdir(parents=True)
    (work / "half.nii.gz").write_bytes(b"half")
    marker.with_suffix(".new").write_text(str(os.getpid()))
    marker.with_suffix(".new").rename(marker)
    time.sleep(300)
    raise RuntimeError("nobody killed this worker")
