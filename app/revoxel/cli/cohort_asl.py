"""`revoxel cohort asl`: every ASL scan of a BIDS dataset, on this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.asl_quantify import ArterialOption, MethodOption, ModelsOption, NonfiniteOption, how_of
from revoxel.cli.asl_stated_options import AlphaBsOption, AlphaOption, AlphaVsaslOption, T1BloodMsOption
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
from revoxel.cli.workload import carry_out


def asl(
    context: typer.Context,
    bids: Annotated[Path, typer.Argument(help="BIDS dataset, or the folder of one subject.")],
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
    method: MethodOption = "fit",
    model: ModelsOption = None,
    motion: Annotated[Literal["none", "rigid"], typer.Option(help="Correct motion of the head.")] = "none",
    arterial: ArterialOption = False,
    on_nonfinite: NonfiniteOption = "raise",
    t1_blood_ms: T1BloodMsOption = None,
    alpha: AlphaOption = None,
    alpha_vsasl: AlphaVsaslOption = None,
    alpha_bs: AlphaBsOption = None,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Quantify every ASL scan of a BIDS dataset: one task per subject, session and run.

    Maps are BIDS derivatives; perfusion.csv and perfusion.html sum up all scans. What was made from the same
    files with the same settings is kept, anything else is made again. A scan that fails, or whose worker
    dies, does not stop the others: it is listed in failures.csv, and the exit code is 1.

    Example: revoxel cohort asl study/ -o study/derivatives/revoxel-asl --dry-run

    Example: revoxel cohort asl study/ -o derivatives/revoxel-asl --scheduler slurm --queue short --walltime
    02:00:00 --jobs 50
    """
    from revoxel.asl.quantification.planning import QuantifySettings
    from revoxel.asl.scans.stated import Stated
    from revoxel.cohort.asl import AslCohort, asl_work

    cluster = cluster_of(context)
    device = cluster.task_device
    settings = QuantifySettings(
        stated=Stated(t1_blood_ms=t1_blood_ms, alpha=alpha, alpha_vsasl=alpha_vsasl, alpha_bs=alpha_bs),
        **how_of(method, model or [], motion, arterial=arterial, on_nonfinite=on_nonfinite, device=device),
        overwrite=overwrite,
    )
    cohort = AslCohort(bids=bids, out=out, settings=settings, threads=cluster.threads)
    with stage_bars() as progress:
        work = asl_work(cohort, lambda share: progress("scans", share))
    carry_out(work, cluster, dry_run=dry_run)
