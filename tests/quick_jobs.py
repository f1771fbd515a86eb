"""Jobs for worker processes: importable there, because the tests' folder is on the path."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from revoxel.cohort.engine import Job
from revoxel.cohort.workload import Workload
from revoxel.cohort.workspace import workspace


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


def wait_to_be_killed(out: Path, task: str, job: Job) -> Any:
    """Begin a task, leave half a file, tell the process and go on for minutes; the next time, do it."""
    marker = out / "pid"
    if marker.exists():
        return job.function(*job.arguments)
    with workspace(out, task) as work:
        (work / "half.nii.gz").write_bytes(b"half")
        marker.with_suffix(".new").write_text(str(os.getpid()))
        marker.with_suffix(".new").rename(marker)
        time.sleep(300)
    raise RuntimeError("nobody killed this worker")


def deadly(workload: Workload, task: str) -> Workload:
    """A workload of which one task waits to be killed at its first attempt."""
    pieces = [
        replace(piece, job=Job(task, wait_to_be_killed, (workload.out, task, piece.job)))
        if piece.name == task
        else piece
        for piece in workload.pieces
    ]
    return replace(workload, pieces=tuple(pieces))


def kill_who_says_so(out: Path) -> threading.Thread:
    """SIGKILL the process that `wait_to_be_killed` names."""

    def watch() -> None:
        limit = time.monotonic() + 300
        while not (out / "pid").exists() and time.monotonic() < limit:
            time.sleep(0.05)
        os.kill(int((out / "pid").read_text()), signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
