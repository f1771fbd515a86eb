"""Score the test cases of folds on workers: training rows first, then cases, then the tables in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from revoxel.cohort.cluster import ClusterSettings
from revoxel.cohort.engine import Job
from revoxel.cohort.ledger import Entry, Ledger, State
from revoxel.cohort.manifest_work import labels_of
from revoxel.cohort.run import Orders, Watcher, carry_out_orders
from revoxel.cohort.workspace import claimed
from revoxel.core.compute import resolve_device, set_threads
from revoxel.core.paths import absolute
from revoxel.sagnef.comparison.plan import EvaluationPlan, EvaluationRequest, plan_evaluation
from revoxel.sagnef.comparison.run import Evaluation, keep_statistics, run_evaluation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from revoxel.core.manifest import Case
    from revoxel.sagnef.comparison.plan import Group


@dataclass(frozen=True)
class Part:
    """What a worker needs of an evaluation: it plans its own group anew, gates are not sent.

    Args:
        request: Of one fold, spacing and pulse.
        row: Row of the manifest.
        threads: Processor threads.
    """

    request: EvaluationRequest
    row: int
    threads: int

    def plan(self) -> EvaluationPlan:
        """The plan of the group, with the device that the worker has."""
        set_threads(self.threads)
        device = str(resolve_device(self.request.settings.device))
        return plan_evaluation(replace(self.request, settings=replace(self.request.settings, device=device)))


def sum_up(part: Part) -> None:
    """Worker: read one training row.

    Args:
        part: Which one.
    """
    keep_statistics(part.plan(), part.row)


def score(part: Part) -> Evaluation:
    """Worker: score one case; the sums of its training rows are on disk.

    Args:
        part: Which one.

    Returns:
        An evaluation of one case.
    """
    plan = part.plan()
    (group,) = plan.groups
    alone = replace(group, cases=(plan.manifest.cases[part.row],))
    return run_evaluation(replace(plan, groups=(alone,)))


def evaluate_cohort(
    plan: EvaluationPlan, cluster: ClusterSettings, watcher: Watcher
) -> tuple[Evaluation, Ledger]:
    """Score what was planned.

    Args:
        plan: From `plan_evaluation`; a device of `auto` is each worker's own.
        cluster: Which workers.
        watcher: Who is told how it goes.

    Returns:
        Results and failures as `run_evaluation` gives them, and the account.

    Raises:
        ValueError: If another run is at work in the same folder, or the cluster refuses the settings.
        OSError: If the folder cannot be written, or the scheduler cannot be reached.
        KeyboardInterrupt: If the user stops it; what is done is kept.
    """
    work = _Work(plan, cluster.threads)
    facts = {"manifest": str(absolute(plan.request.manifest)), "verb": "evaluate", "layout": "plain"}
    entries = {**work.entries(work.training, "training"), **work.entries(work.cases, "cases")}
    ledger = Ledger(plan.request.out, facts, entries)
    found: list[Evaluation] = []
    with claimed(plan.request.out):
        for jobs in (work.training_jobs(), work.case_jobs()):
            for name, value in carry_out_orders(Orders(jobs, ledger, cluster, watcher)):
                if value is not None:
                    found.append(value)
                    work.enter(ledger, name, value)
        ledger.write()
    return _gathered(plan, found, ledger), ledger


class _Work:
    """Names of training rows and cases, and the part of the plan that each needs."""

    def __init__(self, plan: EvaluationPlan, threads: int) -> None:
        self.plan = plan
        rows = {id(case): row for row, case in enumerate(plan.manifest.cases)}
        self.training: dict[str, tuple[Part, Case]] = {}
        self.cases: dict[str, tuple[Part, Case]] = {}
        self.groups: dict[str, Group] = {}
        for group in plan.groups:
            request = replace(
                plan.request, folds=(group.fold.name,), spacings=(group.spacing,), pulses=(group.pulse,)
            )
            for case in (*group.trusted, *group.misled):
                part = Part(request, rows[id(case)], threads)
                self.training.setdefault(f"training row {_name(case)}", (part, case))
            for case in group.cases:
                name = f"{group.fold.name} {_name(case)}"
                self.cases[name] = (Part(request, rows[id(case)], threads), case)
                self.groups[name] = group

    def entries(self, parts: dict[str, tuple[Part, Case]], folder: str) -> dict[str, Entry]:
        """Entries of the account."""
        return {
            name: Entry(labels_of(case), folder, self._record(name, case))
            for name, (_, case) in parts.items()
        }

    def _record(self, name: str, case: Case) -> str | None:
        if name not in self.groups:
            return None
        path = self.plan.result_path(self.groups[name], case)
        return path.relative_to(self.plan.request.out).as_posix()

    def training_jobs(self) -> list[Job]:
        return [Job(name, sum_up, (part,)) for name, (part, _) in self.training.items()]

    def case_jobs(self) -> list[Job]:
        return [Job(name, score, (part,)) for name, (part, _) in self.cases.items()]

    def enter(self, ledger: Ledger, name: str, value: Evaluation) -> None:
        """A case that could not be scored is told in the worker's evaluation."""
        entry = ledger.entries[name]
        if not value.results:
            entry.state, entry.reason = State.FAILED, next(iter(value.failures.values()), "not scored")
        elif value.n_kept:
            entry.reason, entry.seconds = "done before", None


def _name(case: Case) -> str:
    return f"{case.subject}_{case.spacing}_{case.pulse}"


def _gathered(plan: EvaluationPlan, found: Iterable[Evaluation], ledger: Ledger) -> Evaluation:
    """One evaluation of all cases, in the order of the plan."""
    parts = list(found)
    results = {
        (result.fold, result.subject, result.spacing, result.pulse): result
        for part in parts
        for result in part.results
    }
    wanted = [
        (group.fold.name, case.subject, str(case.spacing), str(case.pulse))
        for group in plan.groups
        for case in group.cases
    ]
    failures = {name: entry.reason for name, entry in ledger.failed().items()}
    weights: dict[str, dict[str, Any]] = {}
    for part in parts:
        weights |= part.weights
    return Evaluation(
        tuple(results[key] for key in wanted if key in results),
        failures,
        sum(part.n_kept for part in parts),
        weights,
    )
