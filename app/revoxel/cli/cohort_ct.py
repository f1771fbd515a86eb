"""`revoxel cohort ct`: every CT of a folder or study, on this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from revoxel.cli.cluster_options import (
    SCHEDULER,
    AttemptsOption,
    ClusterConfigOption,
    CoresOption,
    GpusOption,
    JobsOption,
    QueueOption,
    WalltimeOption,
    WorkerMemoryOption,
    cluster_of,
)
from revoxel.cli.ct_refine import AllowNoAirOption, MethodOption
from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, MemoryOption, OverwriteOption
from revoxel.cli.progress import stage_bars
from revoxel.cli.workload import carry_out


def ct(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="Folder of coarse CTs, or a study of revoxel ct prepare.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Root of the results; finished ones are kept.")],
    scheduler: Annotated[str, SCHEDULER] = "local",
    jobs: JobsOption = None,
    cores_per_worker: CoresOption = None,
    gpus_per_worker: GpusOption = None,
    memory: WorkerMemoryOption = None,
    queue: QueueOption = None,
    walltime: WalltimeOption = None,
    cluster_config: ClusterConfigOption = None,
    attempts: AttemptsOption = 3,
    method: MethodOption = "auto",
    bundle: Annotated[str | None, typer.Option(help="Bundle instead of the shipped one.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Trained weights instead of a bundle's.")] = None,
    allow_no_air: AllowNoAirOption = False,
    memory_gb: MemoryOption = 4.0,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Refine every CT of a folder, or the coarse volumes of a study: one task per scan.

    Results of a scan lie in a folder of its name, as of revoxel ct refine; those of a study are compared with
    its fine volumes. What was made from the same files with the same settings is kept. A scan that fails does
    not stop the others: it is listed in failures.csv, and the exit code is 1.

    Example: revoxel cohort ct coarse/ -o refined/ --dry-run

    Example: revoxel cohort ct set/study.json -o refined/ --jobs 2
    """
    from revoxel.cohort.ct import CtCohort, ct_work
    from revoxel.ct.refinement.methods import Method, MethodChoice
    from revoxel.ct.refinement.planning import RefineSettings

    cluster = cluster_of(context)
    weights = None if checkpoint is None else checkpoint.absolute()
    settings = RefineSettings(
        choice=MethodChoice(Method(method), bundle, weights, cluster.task_device),
        allow_no_air=allow_no_air,
        memory_gb=memory_gb,
        overwrite=overwrite,
    )
    cohort = CtCohort(source=source, out=out, settings=settings, threads=cluster.threads)
    with stage_bars() as progress:
        work = ct_work(cohort, lambda share: progress("scans", share))
    carry_out(work, cluster, dry_run=dry_run)
