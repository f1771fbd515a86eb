"""`revoxel cohort`: the verbs of one scan, for a thousand, on this machine or on a cluster.

A system without manifests has a command of its own, `revoxel.cli.cohort_<system>`, registered below.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    path_of,
    stopped_tidily,
)
from revoxel.cli.cohort_asl import asl
from revoxel.cli.cohort_ct import ct
from revoxel.cli.cohort_semivae import semivae
from revoxel.cli.evaluate import LabelsOption, ModelDataOption, SeenOption, listed, plan_table, tell
from revoxel.cli.manifest import (
    Job,
    PulsesOption,
    ScanProfileOption,
    SpacingsOption,
    WorkersOption,
    describe,
    print_lines,
    refuse_existing,
)
from revoxel.cli.options import (
    ColdOption,
    ConsistencyOption,
    DebugOption,
    DeviceOption,
    DryRunOption,
    ExactOption,
    ExtrapolationOption,
    KeepExpertsOption,
    MemoryOption,
    OverwriteOption,
    SeedOption,
    ThreadsOption,
)
from revoxel.cli.parsing import parse_choices, parse_profile, parse_voxel_mm
from revoxel.cli.progress import stage_bars
from revoxel.cli.workload import carry_out, show_end

if TYPE_CHECKING:
    from revoxel.cohort.cluster import ClusterSettings
    from revoxel.cohort.plan import VerbSettings
    from revoxel.sagnef.comparison.plan import EvaluationRequest

VERB = "What is done"

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.command()(asl)
app.command()(ct)
app.command()(semivae)

VerbOption = Annotated[
    Literal["superresolve", "experts", "predict", "evaluate"],
    typer.Option(help="What is done with every row of the manifest.", rich_help_panel=VERB),
]
LayoutOption = Annotated[
    Literal["auto", "plain", "bids"],
    typer.Option(help="plain: a folder per task; bids: derivatives; auto: bids for scans of a BIDS dataset."),
]
SizeOption = Annotated[
    str,
    typer.Option(help="Voxel size in mm; native: in-plane; auto: 1.0, of experts the truth's."),
]
FoldOption = Annotated[
    str | None, typer.Option(help="evaluate: fold whose test patients are scored; several by commas.")
]
CkptOption = Annotated[Path | None, typer.Option(help="Gate instead of the shipped one.")]


@app.callback()
def cohort() -> None:
    """Many subjects: a manifest or a BIDS dataset in, results for each out; resumable, failures listed."""


@app.command()
def run(
    context: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="From revoxel cohort manifest or revoxel manifest.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Root of the results; finished ones are kept.")],
    verb: VerbOption = "superresolve",
    scheduler: Annotated[str, SCHEDULER] = "local",
    jobs: JobsOption = None,
    cores_per_worker: CoresOption = None,
    gpus_per_worker: GpusOption = None,
    memory: WorkerMemoryOption = None,
    queue: QueueOption = None,
    walltime: WalltimeOption = None,
    cluster_config: ClusterConfigOption = None,
    attempts: AttemptsOption = 3,
    layout: LayoutOption = "auto",
    fusion: Annotated[
        Literal["gate", "simplex", "mean"],
        typer.Option(help="simplex: one weight per expert for the volume."),
    ] = "gate",
    voxel_mm: SizeOption = "auto",
    allow_extrapolation: ExtrapolationOption = False,
    exact: ExactOption = False,
    consistency: ConsistencyOption = True,
    keep_experts: KeepExpertsOption = True,
    cold: ColdOption = False,
    ckpt: CkptOption = None,
    fold: FoldOption = None,
    model_data: ModelDataOption = None,
    labels: LabelsOption = None,
    allow_seen: SeenOption = False,
    memory_gb: MemoryOption = 0.5,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a verb on every row of a manifest: one task per subject, spacing and pulse.

    What was made from the same files with the same settings is kept, so the same line continues an
    interrupted run. A task that fails, or whose worker dies, does not stop the others: it is listed in
    failures.csv, and the exit code is 1. cohort.json accounts for every task.

    Example: revoxel cohort run study/manifest.json --verb superresolve -o out/cohort --dry-run

    Example: revoxel cohort run manifest.json -o derivatives/revoxel --scheduler slurm --queue short
    --walltime 04:00:00 --jobs 50 --memory 16GB
    """
    from revoxel.cohort.manifest_work import manifest_work
    from revoxel.cohort.plan import plan_cohort

    refuse_foreign(context, verb)
    cluster = cluster_of(context)
    if verb == "evaluate":
        _evaluate(_request(context.params, cluster), cluster, dry_run=dry_run)
        return
    settings = _verb_settings(context.params, cluster)
    with stage_bars() as progress:
        plan = plan_cohort(
            manifest, settings, layout=layout, overwrite=overwrite, progress=lambda s: progress("inputs", s)
        )
    carry_out(manifest_work(plan), cluster, dry_run=dry_run)


def _verb_settings(given: dict[str, Any], cluster: ClusterSettings) -> VerbSettings:
    from revoxel.cohort.plan import Verb, VerbSettings
    from revoxel.sagnef.planning import FusionKind

    same = ("allow_extrapolation", "exact", "consistency", "keep_experts", "cold", "memory_gb", "seed")
    return VerbSettings(
        verb=Verb(given["verb"]),
        threads=cluster.threads,
        fusion=FusionKind(given["fusion"]),
        voxel_mm="auto" if given["voxel_mm"] == "auto" else parse_voxel_mm(given["voxel_mm"]),
        out=Path(given["out"]),
        checkpoint=path_of(given["ckpt"]),
        device=cluster.task_device,
        **{name: given[name] for name in same},
    )


def _request(given: dict[str, Any], cluster: ClusterSettings) -> EvaluationRequest:
    from revoxel.sagnef.comparison.plan import EvaluationRequest
    from revoxel.sagnef.comparison.rows import RowSettings

    same = ("labels", "allow_seen", "seed", "overwrite")
    return EvaluationRequest(
        manifest=Path(given["manifest"]),
        out=Path(given["out"]),
        model_data=path_of(given["model_data"]),
        folds=tuple(listed(given["fold"] or "", "--fold")),
        checkpoint=path_of(given["ckpt"]),
        settings=RowSettings(cluster.task_device, given["exact"], given["memory_gb"]),
        **{name: given[name] for name in same},
    )


@app.command()
def manifest(
    bids: Annotated[Path | None, typer.Option(help="BIDS dataset.")] = None,
    brats: Annotated[Path | None, typer.Option(help="Folder of volumes with BraTS names.")] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The manifest; a CSV with a line per volume goes beside it.")
    ] = Path("manifest.json"),
    pulses: PulsesOption = "",
    spacings: SpacingsOption = "",
    profile: ScanProfileOption = "auto",
    folds: Annotated[int, typer.Option(min=0, help="Patient-wise folds, at least 3; 0: none.")] = 0,
    workers: WorkersOption = 1,
    dry_run: DryRunOption = False,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """List the thick scans of a BIDS dataset or of a BraTS folder, for revoxel cohort run.

    A volume is a scan if its header says that its slices lie 2-9 mm apart. A volume of at most 1.5 mm is
    its truth if it has the same subject, session and pulse and its voxels lie where results will lie;
    another acquisition of the same head is no truth. All sessions of a patient stay together.

    Example: revoxel cohort manifest --bids study/ -o study/manifest.json
    """
    from rich.console import Console

    from revoxel.cohort.find import find_bids, find_brats
    from revoxel.core.compute import set_threads
    from revoxel.core.pulses import Pulse, Spacing
    from revoxel.sagnef.study.build import StudySettings
    from revoxel.sagnef.study.rows import Wanted

    if bids is not None and brats is None:
        root, find = bids, find_bids
    elif brats is not None and bids is None:
        root, find = brats, find_brats
    else:
        msg = "one of --bids ROOT and --brats ROOT must be given, got both or none; give one."
        raise ValueError(msg)
    if not dry_run and not overwrite:
        refuse_existing(out)
    set_threads(threads)
    wanted = Wanted(
        pulses=parse_choices(pulses, Pulse, "--pulses"),
        spacings=parse_choices(spacings, Spacing, "--spacings"),
        truth=False,
    )
    settings = StudySettings(
        profile=None if profile == "estimate" else parse_profile(profile),
        trust_sidecar=profile == "auto",
        n_folds=folds,
        seed=seed,
        n_workers=workers,
    )
    found = find(root)
    print_lines(Console(), found.notes)
    rows = [row for row in found.rows if not wanted.pulses or row.fields["pulse"] in wanted.pulses]
    describe(Job(root, out, wanted, settings), rows, str(root), dry_run=dry_run)


def refuse_foreign(context: typer.Context, verb: str) -> None:
    """Refuse options that the verb would ignore.

    Args:
        context: Of the command.
        verb: What is done.

    Raises:
        ValueError: If one was given.
    """
    from revoxel.cohort.plan import CHOICES, Verb

    names = {"checkpoint": "ckpt"}
    own = {names.get(name, name) for name in CHOICES[Verb(verb)]}
    some = {names.get(name, name) for choices in CHOICES.values() for name in choices}
    # By name: typer may carry a click of its own.
    sources = {name: context.get_parameter_source(name) for name in some - own}
    given = [name for name, source in sources.items() if source and source.name != "DEFAULT"]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        msg = f"{options} must not go with --verb {verb}, which has no use for it; leave it out."
        raise ValueError(msg)


def _evaluate(request: EvaluationRequest, cluster: ClusterSettings, *, dry_run: bool) -> None:
    from rich.console import Console

    from revoxel.cohort.board import Board
    from revoxel.cohort.evaluate import evaluate_cohort
    from revoxel.sagnef.comparison.outputs import save_evaluation
    from revoxel.sagnef.comparison.plan import plan_evaluation

    plan, console = plan_evaluation(request), Console()
    if dry_run:
        console.print(plan_table(plan))
        return
    with stopped_tidily(), Board(console, f"evaluate: {request.manifest}") as board:
        evaluation, ledger = evaluate_cohort(plan, cluster, board)
    tell(console, plan, evaluation, save_evaluation(plan, evaluation, shlex.join(["revoxel", *sys.argv[1:]])))
    show_end(ledger, request.out, console)
