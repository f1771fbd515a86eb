"""Where tasks run: worker processes on this machine, a running dask scheduler, or a batch system's queue."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from revoxel.core.compute import resolve_device
from revoxel.core.configuration import read_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from distributed import Client

LOCAL = "local"
QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster"}
ADDRESSES = ("tcp://", "tls://")
_DEFAULT_CORES = 4
_DEFAULT_QUEUE_JOBS = 10
_DEFAULT_QUEUE_MEMORY = "16GB"
# dask gives up sooner: on a machine that swaps, or whose every core computes, nobody is dead yet by then.
_PATIENCE = {
    "distributed.comm.timeouts.connect": "2 minutes",
    "distributed.comm.timeouts.tcp": "2 minutes",
    "distributed.scheduler.worker-ttl": "30 minutes",
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Which workers to use.

    Args:
        scheduler: `local`, `slurm`, `pbs`, `lsf`, or the address of a dask scheduler.
        jobs: Most workers at a time; as many as fit on this machine, or 10 jobs of a queue.
        cores_per_worker: Processor threads of a task; 4, or what the machine has.
        gpus_per_worker: GPUs of a worker; on this machine 1 where there are any.
        memory: Memory of a worker, such as `16GB`; an equal share of this machine's, 16GB in a queue.
        queue: Queue or partition.
        walltime: Longest time of a job in a queue, such as `12:00:00`.
        config: YAML with dask's own configuration, such as a section `jobqueue`.
        attempts: How often a task is begun when its worker process dies.
        device: `auto`, `cpu` or `cuda:N`.
    """

    scheduler: str = LOCAL
    jobs: int | None = None
    cores_per_worker: int | None = None
    gpus_per_worker: int | None = None
    memory: str | None = None
    queue: str | None = None
    walltime: str | None = None
    config: Path | None = None
    attempts: int = 3
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse options that this scheduler would ignore, and an environment without dask."""
        if find_spec("distributed") is None:
            msg = "cohorts need dask, got an environment without it; pip install 'revoxel[cohort]'."
            raise ValueError(msg)
        if self.scheduler not in {LOCAL, *QUEUES} and not self.scheduler.startswith(ADDRESSES):
            msg = (
                f"--scheduler must be {LOCAL}, {', '.join(QUEUES)} or an address such as tcp://host:8786, "
                f"got {self.scheduler!r}; correct it."
            )
            raise ValueError(msg)
        given = {
            "--queue": self.queue,
            "--walltime": self.walltime,
            "--cluster-config": self.config,
        }
        idle = [name for name, value in given.items() if value is not None]
        if self.scheduler not in QUEUES and idle:
            msg = f"{', '.join(idle)} must go with --scheduler {', '.join(QUEUES)}, got {self.scheduler}; "
            raise ValueError(msg + "leave it out.")

    @property
    def threads(self) -> int:
        """Processor threads of one task."""
        from dask.system import CPU_COUNT

        most = CPU_COUNT if self.scheduler == LOCAL else _DEFAULT_CORES
        return self.cores_per_worker or min(_DEFAULT_CORES, most)

    @property
    def task_device(self) -> str:
        """Device that a task asks for: on this machine its worker sees no other GPU than its own."""
        return "auto" if self.scheduler == LOCAL and self.device.startswith("cuda") else self.device


@contextmanager
def open_client(settings: ClusterSettings, n_tasks: int) -> Iterator[Client]:
    """Start workers, or find them, and stop what was started.

    Args:
        settings: Which workers.
        n_tasks: No more workers are started than there are tasks.

    Yields:
        The connection to the scheduler.

    Raises:
        ValueError: If the cluster refuses the settings.
        OSError: If the scheduler cannot be reached.
    """
    import dask
    from distributed import Client

    if settings.scheduler.startswith(ADDRESSES):
        with Client(settings.scheduler, timeout="20s") as client:
            yield client
        return
    with dask.config.set(_PATIENCE):
        opened = _local(settings, n_tasks) if settings.scheduler == LOCAL else _queue(settings, n_tasks)
        with opened as cluster, Client(cluster) as client:
            yield client


def local_environments(settings: ClusterSettings, n_tasks: int) -> list[dict[str, str]]:
    """Environment of each worker process on this machine: its threads, and the GPUs that it may see.

    Args:
        settings: Which workers.
        n_tasks: Most workers.

    Returns:
        One mapping per worker, at least one.

    Raises:
        ValueError: If there are fewer GPUs than a worker must have.
    """
    from dask.system import CPU_COUNT

    threads = dict.fromkeys(_THREAD_VARIABLES, str(settings.threads))
    most = min(settings.jobs or n_tasks, n_tasks)
    gpus = _visible_gpus(settings.device)
    size = settings.gpus_per_worker or 1
    if settings.gpus_per_worker and len(gpus) < size:
        msg = f"--gpus-per-worker must be at most the {len(gpus)} GPUs here, got {size}; leave it out."
        raise ValueError(msg)
    if gpus:
        groups = [gpus[start : start + size] for start in range(0, len(gpus) - size + 1, size)]
        return [{**threads, "CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups[: max(1, most)]]
    fitting = settings.jobs or max(1, CPU_COUNT // settings.threads)
    # An empty list hides GPUs that the user does not want.
    return [{**threads, "CUDA_VISIBLE_DEVICES": ""} for _ in range(max(1, min(fitting, most)))]


def _visible_gpus(device: str) -> list[str]:
    """Names of the GPUs that workers may use, as CUDA_VISIBLE_DEVICES writes them."""
    import torch

    if resolve_device(device).type != "cuda":
        return []
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = listed.split(",") if listed else [str(number) for number in range(torch.cuda.device_count())]
    return names if device in {"auto", "cuda"} else [names[int(device.partition(":")[2])]]


def _local(settings: ClusterSettings, n_tasks: int) -> Any:
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.system import MEMORY_LIMIT

    environments = local_environments(settings, n_tasks)
    scheduler = {"host": "127.0.0.1", "port": 0, **_scheduler_options(settings)}
    shared = {
        "nthreads": 1,
        "host": "127.0.0.1",
        "memory_limit": settings.memory or MEMORY_LIMIT // len(environments),
        "silence_logs": logging.CRITICAL,
        "preload": ["revoxel.cohort.worker_setup"],
    }
    workers = {
        number: {"cls": Nanny, "options": {**shared, "env": environment}}
        for number, environment in enumerate(environments)
    }
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": scheduler},
        workers=workers,
        silence_logs=logging.CRITICAL,
    )


def job_queues() -> ModuleType:
    """Import dask-jobqueue, and leave Ctrl-C as it was.

    Its import makes Ctrl-C end the process with success, so nobody would learn that the work was stopped.
    """
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)
    found: ModuleType = dask_jobqueue
    return found


@contextmanager
def _queue(settings: ClusterSettings, n_tasks: int) -> Iterator[Any]:
    import dask

    queues = job_queues()
    site = read_mapping(settings.config) if settings.config else {}
    with dask.config.set(dask.config.merge(dask.config.config, site)):
        cluster = getattr(queues, QUEUES[settings.scheduler])(**queue_arguments(settings))
        with cluster:
            n_jobs = max(1, min(settings.jobs or _DEFAULT_QUEUE_JOBS, n_tasks))
            # Adapting between equal bounds begins a new job when one reaches its walltime; scaling does not.
            cluster.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs)
            yield cluster


def queue_arguments(settings: ClusterSettings) -> dict[str, Any]:
    """Arguments of dask-jobqueue's cluster: what options state, over dask's configuration, over defaults.

    Args:
        settings: Which workers; `scheduler` is a queue.

    Returns:
        Keyword arguments.

    Raises:
        ValueError: If GPUs are asked of a batch system that has no common words for it.
    """
    section = settings.scheduler
    options: dict[str, Any] = {"queue": settings.queue, "walltime": settings.walltime}
    return {
        **{name: value for name, value in options.items() if value is not None},
        "cores": settings.cores_per_worker or _configured(section, "cores") or _DEFAULT_CORES,
        "memory": settings.memory or _configured(section, "memory") or _DEFAULT_QUEUE_MEMORY,
        "processes": 1,
        # One task per process: seeds and threads are a process's, and the cores belong to the task.
        "worker_extra_args": [*(_configured(section, "worker-extra-args") or []), "--nthreads", "1"],
        "job_extra_directives": [
            *(_configured(section, "job-extra-directives") or []),
            *_gpu_directives(section, settings.gpus_per_worker),
        ],
        "scheduler_options": _scheduler_options(settings),
    }


def _scheduler_options(settings: ClusterSettings) -> dict[str, Any]:
    return {"dashboard_address": "127.0.0.1:0", "allowed_failures": settings.attempts - 1}


def _gpu_directives(section: str, n_gpus: int | None) -> list[str]:
    if n_gpus is None:
        return []
    if section == "pbs":
        msg = (
            f"--gpus-per-worker must be said in a PBS site's own words, got {n_gpus}; give "
            "jobqueue.pbs.resource-spec in --cluster-config."
        )
        raise ValueError(msg)
    return [{"slurm": f"--gres=gpu:{n_gpus}", "lsf": f"-gpu num={n_gpus}"}[section]]


def _configured(section: str, name: str) -> Any:
    import dask

    return dask.config.get(f"jobqueue.{section}.{name}", None)
