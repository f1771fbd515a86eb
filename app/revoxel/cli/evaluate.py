"""`revoxel evaluate`: every method beside every baseline on the test patients of a fold."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revoxel.cli.options import (
    DebugOption,
    DeviceOption,
    DryRunOption,
    ExactOption,
    MemoryOption,
    OverwriteOption,
    SeedOption,
    ThreadsOption,
)
from revoxel.cli.parsing import parse_choices
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from revoxel.sagnef.comparison.plan import EvaluationPlan
    from revoxel.sagnef.comparison.run import Evaluation


FoldOption = Annotated[str, typer.Option(help="Fold whose test patients are scored; several by commas.")]
OutOption = Annotated[Path, typer.Option("-o", "--out", help="Output folder; finished cases in it are kept.")]
NamesOption = Annotated[str, typer.Option(help="By commas.", metavar="A,B,..")]
ModelDataOption = Annotated[
    Path | None,
    typer.Option(help="Output root of the training: the best gate of every spacing, pulse and fold."),
]
CkptOption = Annotated[Path | None, typer.Option(help="One gate, instead of --model-data.")]
ControlOption = Annotated[
    Path | None, typer.Option(help="Gate on fewer experts (such as B-spline and the best): control row.")
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        help="Tumour labels: path with {patient}, {subject}, {timepoint} or {pulse}.", metavar="TEMPLATE"
    ),
]
SeenOption = Annotated[
    bool, typer.Option("--allow-seen", help="Score patients that the gate was trained on, and mark them.")
]


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="Manifest with truths, experts and folds.")],
    fold: FoldOption,
    out: OutOption,
    spacings: NamesOption = "3mm,5mm,7mm",
    pulses: NamesOption = "t1c,t1n,t2f,t2w",
    model_data: ModelDataOption = None,
    ckpt: CkptOption = None,
    control_ckpt: ControlOption = None,
    labels: LabelsOption = None,
    allow_seen: SeenOption = False,
    exact: ExactOption = False,
    memory_gb: MemoryOption = 0.5,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Score experts, baselines, gate, superresolve and oracles on the test patients of a fold.

    Best expert, simplex, tiles and cautious weights are fitted on the fold's training patients. Without
    --model-data and --ckpt the rows that need a gate are left out. Written: evaluation.html (look here
    first), evaluation.png, evaluation.csv (a line per case, region and method), evaluation.json. An
    interrupted run goes on where it stopped; what cannot be read is listed, and the exit code is 1.

    Example: revoxel evaluate study/kfolds_manifest.json --fold fold0 --spacings 5mm --pulses t1c --model-data
    output -o out/evaluation
    """
    from rich.console import Console

    from revoxel.core.compute import resolve_device, set_threads
    from revoxel.core.pulses import Pulse, Spacing
    from revoxel.sagnef.comparison.outputs import save_evaluation
    from revoxel.sagnef.comparison.plan import EvaluationRequest, plan_evaluation
    from revoxel.sagnef.comparison.rows import RowSettings
    from revoxel.sagnef.comparison.run import run_evaluation

    set_threads(threads)
    if ckpt and model_data:
        msg = "--ckpt and --model-data exclude each other, got both; give one of them."
        raise ValueError(msg)
    request = EvaluationRequest(
        manifest=manifest,
        folds=tuple(listed(fold, "--fold")),
        out=out,
        spacings=parse_choices(spacings, Spacing, "--spacings"),
        pulses=parse_choices(pulses, Pulse, "--pulses"),
        model_data=model_data,
        checkpoint=ckpt,
        control=control_ckpt,
        labels=labels,
        allow_seen=allow_seen,
        settings=RowSettings(str(resolve_device(device)), exact, memory_gb),
        seed=seed,
        overwrite=overwrite,
    )
    plan = plan_evaluation(request)
    console = Console()
    if dry_run:
        console.print(plan_table(plan))
        return
    with stage_bars() as progress:
        evaluation = run_evaluation(plan, progress)
    paths = save_evaluation(plan, evaluation, shlex.join(["revoxel", *sys.argv[1:]]))
    tell(console, plan, evaluation, paths)
    if evaluation.failures:
        raise typer.Exit(1)


def tell(
    console: "Console", plan: "EvaluationPlan", evaluation: "Evaluation", paths: dict[str, Path]
) -> None:
    """Print the first tables, where to look, warnings and failures.

    Args:
        console: Where.
        plan: What was planned.
        evaluation: What came out.
        paths: What was written.
    """
    from revoxel.sagnef.comparison.outputs import console_tables

    for table in console_tables(plan, evaluation):
        console.print(table.for_console())
        console.print(table.note, style="dim", soft_wrap=True)
    console.print(f"{len(evaluation.results)} cases scored, {evaluation.n_kept} of them before")
    console.print("\n".join(f"{kind:5} {path}" for kind, path in paths.items()), soft_wrap=True)
    for note in plan.notes:
        typer.secho(f"warning: {note}", err=True, fg="yellow")
    for name, reason in evaluation.failures.items():
        typer.secho(f"failed: {name}: {reason}", err=True, fg="red")


def listed(text: str, option: str) -> list[str]:
    """Read a list of names.

    Args:
        text: Names separated by commas.
        option: For the message.

    Returns:
        The names.

    Raises:
        ValueError: If there is none, or one twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        msg = f"{option} must be different names separated by commas, got {text!r}; correct it."
        raise ValueError(msg)
    return names


def plan_table(plan: "EvaluationPlan") -> "Table":
    """What would be scored, for a dry run.

    Args:
        plan: What was planned.
    """
    from revoxel.core.report import fact_table

    facts = {}
    for group in plan.groups:
        scored = sum(plan.result_path(group, case).is_file() for case in group.cases)
        gate = str(group.gate.path) if group.gate else "no gate: its rows are left out"
        seen = f"; SEEN IN TRAINING: {', '.join(sorted(group.seen))}" if group.seen else ""
        facts[group.name] = (
            f"{len(group.cases)} test cases ({scored} with a result), {len(group.trusted)} + "
            f"{len(group.misled)} training rows; {gate}{seen}; "
            + ", ".join(case.subject for case in group.cases)
        )
    needed = {
        id(case): case for group in plan.groups for case in (*group.cases, *group.trusted, *group.misled)
    }
    missing = plan.manifest.missing_files(needed.values())
    facts |= {f"missing {number}": line for number, line in enumerate(missing, start=1)}
    return fact_table("Dry run: nothing is written", facts)
