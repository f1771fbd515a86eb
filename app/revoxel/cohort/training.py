"""Train the models of a campaign on workers: one job per spacing, pulse and fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from revoxel.cohort.engine import Job
from revoxel.cohort.ledger import Entry, Ledger, State
from revoxel.cohort.run import Orders, Watcher, carry_out_orders
from revoxel.core.compute import resolve_device, set_threads
from revoxel.sagnef.campaign.run import Outcome, outcome_of, run_model

if TYPE_CHECKING:
    import torch

    from revoxel.cohort.cluster import ClusterSettings
    from revoxel.sagnef.campaign.plan import PlannedModel


@dataclass(frozen=True)
class Training:
    """How a worker trains.

    Args:
        device: `auto`, `cpu` or `cuda:N`, as the worker sees it.
        threads: Processor threads.
        overwrite: Begin anew where there is a run.
    """

    device: str
    threads: int
    overwrite: bool = False


def train_on_workers(
    models: Sequence[PlannedModel], cluster: ClusterSettings, watcher: Watcher, *, overwrite: bool = False
) -> list[Outcome]:
    """Train and evaluate the models of a plan.

    Args:
        models: From `plan_campaign`.
        cluster: Which workers.
        watcher: Who is told how it goes.
        overwrite: Begin anew where there are runs.

    Returns:
        What became of each model, in the order of the plan.

    Raises:
        ValueError: If the cluster refuses the settings.
        OSError: If the scheduler cannot be reached.
        KeyboardInterrupt: If the user stops it; the last whole epochs are kept.
    """
    training = Training(cluster.task_device, cluster.threads, overwrite)
    ledger = Ledger(None, {}, {model.name: _entry(model) for model in models})
    jobs = [
        Job(model.name, train_model, (model, training)) for model in models if model.steps() not in _NO_WORK
    ]
    outcomes: dict[str, Outcome] = {}
    for name, outcome in carry_out_orders(Orders(jobs, ledger, cluster, watcher)):
        outcomes[name] = outcome
        if outcome.reason:
            ledger.end(name, outcome.reason, ledger.entries[name].seconds or 0.0)
    return [outcomes.get(model.name) or _without_work(model, ledger) for model in models]


_NO_WORK: Mapping[str, State] = {"finished": State.DONE, "cannot run": State.FAILED}


def _entry(model: PlannedModel) -> Entry:
    labels = {"subject": model.fold, "spacing": model.spacing.value, "pulse": model.pulse.value}
    entry = Entry(labels, str(model.folder), None)
    entry.state = _NO_WORK.get(model.steps(), State.WAITING)
    entry.reason = model.problem or model.steps()
    return entry


def _without_work(model: PlannedModel, ledger: Ledger) -> Outcome:
    """Finished before, not to be trained, or lost with its worker."""
    entry = ledger.entries[model.name]
    return outcome_of(model, entry.reason if entry.state is State.FAILED else "")


def train_model(model: PlannedModel, training: Training) -> Outcome:
    """Worker: train and evaluate one model, with all GPUs that the worker sees.

    Args:
        model: The model.
        training: How.

    Returns:
        What became of it; a model that fails says why.
    """
    set_threads(training.threads)
    device = resolve_device(training.device)
    return run_model(
        on_device(model, device),
        overwrite=training.overwrite,
        n_processes=_n_processes(training.device, device),
    )


def on_device(model: PlannedModel, device: torch.device) -> PlannedModel:
    """A model that runs on a worker's device instead of that of the machine where it was planned.

    Args:
        model: The model.
        device: The worker's.
    """
    placed = {"device": f"$torch.device('{device}')"}
    return replace(model, values={graph: {**values, **placed} for graph, values in model.values.items()})


def _n_processes(asked: str, device: torch.device) -> int:
    """One per visible GPU, unless a certain one was asked for."""
    import torch

    return torch.cuda.device_count() if asked in {"auto", "cuda"} and device.type == "cuda" else 1
