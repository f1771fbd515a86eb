"""Jobs side by side, each on its part of the processor's threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from functools import partial
from threading import Event, Lock
from typing import TypeVar

import torch

Result = TypeVar("Result")
Report = Callable[[float], None]
Progress = Callable[[str, float], None]


def side_by_side(jobs: Mapping[str, Callable[[Report], Result]], progress: Progress) -> dict[str, Result]:
    """Run jobs at the same time, on equal parts of the threads that the caller may use.

    For work in many small steps, such as small networks, whose every step waits for the slowest of its
    threads: the fewer threads a job has, the less it waits. With one thread, jobs run one after the other.

    Args:
        jobs: By the name under which they report. Each gets a function to call with its share done; after
            another job's error, or an interrupt, that function raises, which ends the job.
        progress: Called with a name and a share, by one thread at a time.

    Returns:
        What the jobs returned. The first error that one raised is raised here, when the others have ended.
    """
    n_threads = torch.get_num_threads()
    n_workers = min(len(jobs), n_threads)
    if n_workers < 2:
        return {name: job(partial(progress, name)) for name, job in jobs.items()}
    over, one_at_a_time = Event(), Lock()

    def report(name: str, share: float) -> None:
        if over.is_set():
            raise CancelledError
        with one_at_a_time:
            progress(name, share)

    pool = ThreadPoolExecutor(n_workers, "job", torch.set_num_threads, (n_threads // n_workers,))
    try:
        futures = {name: pool.submit(job, partial(report, name)) for name, job in jobs.items()}
        for future in as_completed(futures.values()):
            future.result()
    finally:
        over.set()
        try:
            pool.shutdown(cancel_futures=True)
        finally:
            # A thread's number is its own, but new threads take over the last one that was set.
            torch.set_num_threads(n_threads)
    return {name: future.result() for name, future in futures.items()}
