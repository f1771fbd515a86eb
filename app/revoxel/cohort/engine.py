"""Run functions in worker processes: what fails is named, what a dead worker held is begun again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from revoxel.core.reasons import one_line, reason_of

if TYPE_CHECKING:
    from distributed import Client, Future

_TICK_S = 0.5
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Job:
    """One call in a worker process.

    Args:
        name: Unique name.
        function: Importable function.
        arguments: Its arguments, small and picklable.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Finished:
    """What became of a job.

    Args:
        name: Of the job.
        value: What the function returned; `None` if it failed.
        reason: Why it failed; empty if it did not.
        seconds: Time since the job was sent.
    """

    name: str
    value: Any
    reason: str
    seconds: float


def run_jobs(
    client: Client,
    jobs: Iterable[Job],
    flying: Callable[[list[str], int], None] = lambda _names, _n_workers: None,
) -> Iterator[Finished]:
    """Send jobs to workers, as many as there are places, and report each as it ends.

    Jobs wait here, not with the scheduler: so a dying worker takes down no job that it had not begun.

    Args:
        client: Connection to the scheduler.
        jobs: What to run, in this order.
        flying: Called a few times a second with the names of the running jobs and the number of workers.

    Yields:
        What became of each job, in the order of their ends.
    """
    waiting, sent = deque(jobs), dict[Any, tuple[Job, float]]()
    while waiting or sent:
        n_places = sum(client.nthreads().values())
        while waiting and len(sent) < max(1, n_places):
            job = waiting.popleft()
            sent[_submit(client, job)] = (job, time.monotonic())
        flying([job.name for job, _ in sent.values()], n_places)
        for future in _ended(list(sent)):
            job, start = sent.pop(future)
            yield _finished(job, future, time.monotonic() - start)


def _submit(client: Client, job: Job) -> Future:
    key = f"{job.name}-{uuid4().hex[:8]}"
    return client.submit(_alone, job.function, job.arguments, key=key, pure=False)


def _alone(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Run in a worker, one call per process: seeds, threads and the memory budget are a process's."""
    with _ONE_AT_A_TIME:
        return function(*arguments)


def _ended(futures: list[Future]) -> list[Future]:
    from distributed import CancelledError, wait

    with suppress(TimeoutError, CancelledError):  # a cancelled future says so itself
        wait(futures, timeout=_TICK_S, return_when="FIRST_COMPLETED")
    return [future for future in futures if future.status != "pending"]


def _finished(job: Job, future: Future, seconds: float) -> Finished:
    if future.status == "finished":
        return Finished(job.name, future.result(), "", seconds)
    error = future.exception() if future.status == "error" else None
    return Finished(job.name, None, _reason(error), seconds)


def _reason(error: BaseException | None) -> str:
    from distributed import KilledWorker

    if error is None:
        return "the connection to the scheduler was lost; run the same line again"
    if isinstance(error, KilledWorker):
        n_deaths = error.allowed_failures + 1
        times = "once" if n_deaths == 1 else f"{n_deaths} times"
        return f"its worker process died {times} (killed, or out of memory: give it more by --memory)"
    if isinstance(error, OSError):
        return one_line(error)
    if isinstance(error, ValueError):
        return reason_of(error)
    return f"{type(error).__name__}: {reason_of(error)}"
