"""Options of the verbs that run on workers, and how such a verb is stopped."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from revoxel.cohort.cluster import ClusterSettings

CLUSTER = "Where tasks run"
EXIT_CODE_STOPPED = 130

SCHEDULER = typer.Option(
    help="local: processes here; tcp://host:port: a running dask scheduler; slurm, pbs, lsf: jobs.",
    metavar="local|tcp://HOST:PORT|slurm|pbs|lsf",
    rich_help_panel=CLUSTER,
)
JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Most workers; default: as many as fit here, 10 in a queue.", rich_help_panel=CLUSTER
    ),
]
CoresOption = Annotated[
    int | None,
    typer.Option(min=1, help="Processor threads of a task; default: up to 4.", rich_help_panel=CLUSTER),
]
GpusOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="GPUs of a worker; default here: 1 where there are any.", rich_help_panel=CLUSTER
    ),
]
WorkerMemoryOption = Annotated[
    str | None,
    typer.Option(
        help="Memory of a worker; default: an equal share here, 16GB in a queue.",
        metavar="16GB",
        rich_help_panel=CLUSTER,
    ),
]
QueueOption = Annotated[str | None, typer.Option(help="Queue or partition.", rich_help_panel=CLUSTER)]
WalltimeOption = Annotated[
    str | None,
    typer.Option(help="Longest time of a job in a queue.", metavar="12:00:00", rich_help_panel=CLUSTER),
]
ClusterConfigOption = Annotated[
    Path | None,
    typer.Option(
        help="YAML with dask's own configuration: section jobqueue for a queue.", rich_help_panel=CLUSTER
    ),
]
AttemptsOption = Annotated[
    int,
    typer.Option(min=1, help="How often a task is begun when its worker dies.", rich_help_panel=CLUSTER),
]


def path_of(value: str | Path | None) -> Path | None:
    """A path among a context's parameters, which typer keeps as text.

    Args:
        value: What the context holds.
    """
    return None if value is None else Path(value)


def cluster_of(context: typer.Context) -> "ClusterSettings":
    """Collect the options of this page from a verb's parameters.

    Args:
        context: Of the command.

    Returns:
        Which workers to use.

    Raises:
        ValueError: If the scheduler would ignore an option.
    """
    from revoxel.cohort.cluster import ClusterSettings

    given = context.params
    names = ("scheduler", "jobs", "gpus_per_worker", "memory", "queue", "walltime", "attempts", "device")
    return ClusterSettings(
        **{name: given[name] for name in names},
        cores_per_worker=given["cores_per_worker"] or given.get("threads"),
        config=path_of(given["cluster_config"]),
    )


@contextmanager
def stopped_tidily() -> Iterator[None]:
    """Let Ctrl-C, and a batch system's SIGTERM, end the verb with one line.

    Yields:
        Nothing.

    Raises:
        Exit: With code 130 when stopped.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.secho("stopped: what is done is kept, the same line goes on", err=True, fg="yellow")
        raise typer.Exit(EXIT_CODE_STOPPED) from None
