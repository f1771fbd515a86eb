"""`revoxel cohort semivae`: every visit of a study or folder encoded, on this machine or on a cluster."""

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
from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption
from revoxel.cli.progress import stage_bars
from revoxel.cli.semivae_encode import CheckpointOption
from revoxel.cli.workload import carry_out


def semivae(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="STUDY|FOLDER", help="Study file, or a folder of visits.")
    ],
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
    checkpoint: CheckpointOption = None,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Encode every visit of a study or folder with the tumour network: one task per visit.

    Results of a visit lie in a folder of its name, as of revoxel semivae encode; latents.csv sums up all.
    What was made from the same files with the same weights is kept. A visit that fails does not stop the
    others: it is listed in failures.csv, and the exit code is 1.

    Example: revoxel cohort semivae study.json -o latents/ --dry-run

    Example: revoxel cohort semivae study.json -o latents/ --scheduler slurm --queue short --jobs 20
    """
    from revoxel.cohort.semivae import SemivaeCohort, semivae_work
    from revoxel.semivae.encoding.planning import EncodeSettings
    from revoxel.semivae.network.models import load_model

    cluster = cluster_of(context)
    settings = EncodeSettings(load_model(checkpoint).path.absolute(), overwrite=overwrite)
    cohort = SemivaeCohort(
        source=source, out=out, settings=settings, device=cluster.task_device, threads=cluster.threads
    )
    with stage_bars() as progress:
        work = semivae_work(cohort, lambda share: progress("visits", share))
    carry_out(work, cluster, dry_run=dry_run)
