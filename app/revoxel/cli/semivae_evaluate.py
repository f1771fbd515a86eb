"""`revoxel semivae evaluate`: test patients in; figures, gates and a picture out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption
from revoxel.cli.progress import stage_bars
from revoxel.cli.semivae_encode import CheckpointOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from revoxel.semivae.diagnosis.evaluation.planning import EvaluationPlan


def evaluate(
    study: Annotated[Path, typer.Argument(help="Study file or its folder (docs/semivae_features.md).")],
    fold: Annotated[
        str | None, typer.Option(help="Its test patients are evaluated; default: the study's only fold.")
    ] = None,
    checkpoint: CheckpointOption = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/semivae_evaluation"),
    probe_patients: Annotated[
        int, typer.Option(min=0, help="Training patients that probes are fitted on, at most.")
    ] = 200,
    cubes: Annotated[
        Path | None, typer.Option(help="Folder of cubes to share, such as semivae_cubes/ beside a run.")
    ] = None,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Judge a network on the test patients of a fold: what it predicts, whether it lives, what it mixes.

    Written: metrics.json with every figure under the name that trainings log, R2 with 95 % intervals over
    patients, the matrices of probes and exchanges, and every gate, passed or failed; and evaluation.png.
    Patients that the weights were trained on are refused. Test patients are evaluated once: what was made
    from the same files with the same weights is kept. The fold's training patients serve to fit probes on.
    Exit code 0 also if gates fail: they are results.

    Example: revoxel semivae evaluate study.json --fold fold0 --checkpoint runs/phantom -o out/evaluation

    Example: revoxel semivae evaluate study.json -o out/evaluation --dry-run
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.semivae.diagnosis.evaluation.planning import plan_evaluation
    from revoxel.semivae.diagnosis.evaluation.run import evaluate as evaluate_plan
    from revoxel.semivae.learning.measures import study_file
    from revoxel.semivae.network.models import load_model
    from revoxel.semivae.study import read_study

    set_threads(threads)
    console = Console()
    model = load_model(checkpoint, device)
    opened = read_study(study_file(study))
    plan = plan_evaluation(opened, fold, model, out, n_probe_patients=probe_patients, overwrite=overwrite)
    if dry_run:
        _show_plan(console, plan)
        return
    if plan.why or overwrite:
        command = shlex.join(["revoxel", *sys.argv[1:]])
        with stage_bars() as progress:
            evaluate_plan(plan, model, progress, {"command": command, "study": str(study)}, cubes)
    else:
        console.print("evaluated before with the same files and weights, kept")
    _show(console, plan)


def _show_plan(console: Console, plan: EvaluationPlan) -> None:
    from revoxel.core.report import fact_table

    facts = {
        "evaluated": f"{len(plan.test)} scans of {len(plan.fold.test)} patients ({plan.fold.name})",
        "probes": f"fitted on {len(plan.probes)} scans of {len(plan.fold.train) + len(plan.fold.val)} others",
        "to do": plan.why or "nothing, done before",
        "folder": str(plan.paths.folder),
    }
    console.print(fact_table("Dry run: nothing is written", facts))


def _show(console: Console, plan: EvaluationPlan) -> None:
    """Features and gates, as metrics.json has them; warnings; where to look."""
    from revoxel.core.provenance import read_sidecar
    from revoxel.core.report import number_table

    record = read_sidecar(plan.paths.metrics)
    title = f"{record['n_scans']} scans of {record['n_patients']} patients, {record['fold']}"
    console.print(number_table(title, _feature_rows(record), first_column="feature"))
    console.print(gate_table(record["gates"]))
    for text in record["warnings"]:
        console.print(f"[yellow]-[/yellow] {escape(text)}", soft_wrap=True)
    failed = [gate for gate in record["gates"] if not gate["passed"]]
    console.print(f"{len(record['gates']) - len(failed)} gates passed, {len(failed)} failed")
    for remedy in dict.fromkeys(gate["remedy"] for gate in failed):
        figures = ", ".join(gate["metric"] for gate in failed if gate["remedy"] == remedy)
        console.print(f"[red]-[/red] {escape(f'{figures}: {remedy}')}", soft_wrap=True)
    console.print(f"figures  {plan.paths.metrics}\npicture  {plan.paths.picture}", soft_wrap=True)


def _feature_rows(record: Mapping[str, Any]) -> dict[str, dict[str, float | str]]:
    return {
        name: {
            "R2": _number(record["metrics"][f"sem/{name}_r2"]),
            "95 % over patients": f"{_number(low)} .. {_number(high)}",
            "r": _number(record["metrics"][f"sem/{name}_pearson"]),
            "ceiling r2": _number(record["squared_correlation_ceiling"][name]),
        }
        for name, (low, high) in record["r2_95_interval_over_patients"].items()
    }


def gate_table(gates: list[dict[str, Any]]) -> Any:
    """Gates for the console.

    Args:
        gates: `metric`, `value`, `rule`, `limit`, `passed` each.
    """
    from revoxel.core.report import number_table

    rows: dict[str, dict[str, float | str]] = {
        gate["metric"]: {
            "value": _number(gate["value"]),
            "wanted": f"{gate['rule']} {gate['limit']:g}",
            "gate": "[green]passed[/green]" if gate["passed"] else "[red]failed[/red]",
        }
        for gate in gates
    }
    return number_table("Gates", rows, first_column="figure")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
