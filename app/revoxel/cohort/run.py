"""Run the pieces of a workload that are not done, and keep the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from revoxel.cohort.cluster import ClusterSettings, open_client
from revoxel.cohort.engine import Job, run_jobs
from revoxel.cohort.ledger import Ledger
from revoxel.cohort.workspace import claimed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from revoxel.cohort.workload import Workload


class Watcher(Protocol):
    """Who is told how a run goes."""

    def opened(self, dashboard: str) -> None:
        """The scheduler is there."""

    def changed(self, ledger: Ledger, running: list[str], n_workers: int) -> None:
        """Something may have changed."""


@dataclass(frozen=True)
class Orders:
    """What is run, and in the eyes of whom.

    Args:
        jobs: What to run; their names are entries of the ledger.
        ledger: The account.
        cluster: Which workers.
        watcher: Who is told.
    """

    jobs: list[Job]
    ledger: Ledger
    cluster: ClusterSettings
    watcher: Watcher


def run_workload(workload: Workload, cluster: ClusterSettings, watcher: Watcher) -> Ledger:
    """Run what is not done.

    Args:
        workload: What a system plans to do.
        cluster: Which workers.
        watcher: Who is told how it goes.

    Returns:
        The account; it is on disk as well.

    Raises:
        ValueError: If another run is at work in the same folder, or the cluster refuses the settings.
        OSError: If the folder cannot be written, or the scheduler cannot be reached.
        KeyboardInterrupt: If the user stops it; what is done is kept.
    """
    with claimed(workload.out):
        workload.begin()
        entries = {piece.name: piece.entry() for piece in workload.pieces}
        ledger = Ledger(workload.out, workload.facts, entries)
        jobs = [piece.job for piece in workload.pieces if piece.why]
        for _ in carry_out_orders(Orders(jobs, ledger, cluster, watcher)):
            pass
        workload.finish(ledger)
    return ledger


def carry_out_orders(orders: Orders) -> Iterator[tuple[str, Any]]:
    """Run jobs and enter what becomes of them.

    Args:
        orders: What to run.

    Yields:
        Name and value of every job that succeeded.

    Raises:
        KeyboardInterrupt: If the user stops it; the account is written.
    """
    ledger, watcher = orders.ledger, orders.watcher
    ledger.write()
    if not orders.jobs:
        return

    def flying(names: list[str], n_workers: int) -> None:
        ledger.running(names)
        watcher.changed(ledger, names, n_workers)

    try:
        with open_client(orders.cluster, len(orders.jobs)) as client:
            watcher.opened(client.dashboard_link or "")
            for finished in run_jobs(client, orders.jobs, flying):
                ledger.end(finished.name, finished.reason, finished.seconds)
                if not finished.reason:
                    yield finished.name, finished.value
                watcher.changed(ledger, [], 0)
    finally:
        ledger.stop()
