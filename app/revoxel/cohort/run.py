"""Run the tasks of a plan that are not done, keep the account, and clear up after runs that were killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from revoxel.cohort.cluster import ClusterSettings, open_client
from revoxel.cohort.engine import Job, run_jobs
from revoxel.cohort.keep import describe_derivatives
from revoxel.cohort.ledger import Entry, Ledger, State
from revoxel.cohort.places import Layout, bids_root
from revoxel.cohort.plan import STATE_FOLDER, CohortPlan, Task, Verb
from revoxel.cohort.verbs import WORK_FOLDER, carry_out
from revoxel.core.manifest import save_manifest
from revoxel.core.provenance import sha256_of
from revoxel.sagnef.study.paths import absolute

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST_FILE = "manifest.json"


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


def run_cohort(
    plan: CohortPlan,
    cluster: ClusterSettings,
    watcher: Watcher,
    function: Callable[..., Any] = carry_out,
) -> Ledger:
    """Run what is not done.

    Args:
        plan: From `plan_cohort`.
        cluster: Which workers.
        watcher: Who is told how it goes.
        function: What a worker does with a task and the settings.

    Returns:
        The account; it is on disk as well.

    Raises:
        ValueError: If another run is at work in the same folder, or the cluster refuses the settings.
        OSError: If the folder cannot be written, or the scheduler cannot be reached.
        KeyboardInterrupt: If the user stops it; what is done is kept.
    """
    out = plan.settings.out
    with claimed(out):
        if plan.layout is Layout.BIDS:
            describe_derivatives(out, bids_root(plan.tasks[0].row.lr))
        ledger = _ledger(plan)
        jobs = [Job(task.name, function, (task, plan.settings)) for task in plan.tasks if task.why]
        for _ in carry_out_orders(Orders(jobs, ledger, cluster, watcher)):
            pass
        if plan.settings.verb is Verb.EXPERTS:
            _save_filled_manifest(plan, ledger)
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


def _ledger(plan: CohortPlan) -> Ledger:
    facts = {"manifest": str(absolute(plan.path)), "verb": plan.settings.verb.value, "layout": plan.layout}
    return Ledger(
        plan.settings.out, facts, {task.name: _entry(task, plan.settings.verb) for task in plan.tasks}
    )


def _entry(task: Task, verb: Verb) -> Entry:
    row = task.row
    entry = Entry(
        row.subject,
        row.spacing.value,
        row.pulse.value,
        task.places.folder.as_posix(),
        None if verb is Verb.EXPERTS else task.record.as_posix(),
    )
    if task.problem:
        entry.state, entry.reason = State.FAILED, task.problem
    elif not task.why:
        entry.state, entry.reason = State.DONE, "done before"
    else:
        entry.reason = task.why
    return entry


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
        shutil.rmtree(state / WORK_FOLDER, ignore_errors=True)
        yield
    finally:
        lock.release()


def _save_filled_manifest(plan: CohortPlan, ledger: Ledger) -> None:
    """The manifest with the experts that are there now, for `predict`, `train` and `evaluate`."""
    out = absolute(plan.settings.out)
    cases = []
    for task in plan.tasks:
        made = {name: out / task.places.path(f"SR-{name}", ".nii.gz") for name in task.experts}
        done = ledger.entries[task.name].state is State.DONE
        sums = {f"experts.{name}": sha256_of(path) for name, path in made.items()} if done else {}
        kept = {name: value for name, value in task.row.sha256.items() if not (done and "experts." in name)}
        cases.append(
            task.row.model_copy(
                update={"experts": made if done else task.row.experts, "sha256": {**kept, **sums}}
            )
        )
    save_manifest(plan.manifest.model_copy(update={"cases": cases, "root": out}), out / MANIFEST_FILE)
