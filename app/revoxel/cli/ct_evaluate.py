"""`revoxel ct evaluate`: baselines and networks on prepared CTs whose truth is known."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from revoxel.ct.evaluation.outputs import EvaluationPaths
    from revoxel.ct.evaluation.planning import EvaluationPlan
    from revoxel.ct.evaluation.run import Scored

_TABLE_WIDTH = 112
DataOption = Annotated[Path, typer.Option(help="Study of revoxel ct prepare: study.json or its folder.")]
RefinementOption = Annotated[
    str | None,
    typer.Option(help="Weights of an upsampler or detail network, or a bundle's name; none: baselines."),
]
BaseOption = Annotated[
    str,
    typer.Option(
        help="What stands before a detail network: oracle, backprojection, or weights of a two-view base.",
        metavar="oracle|backprojection|FILE",
    ),
]
NumPatientsOption = Annotated[int | None, typer.Option(min=1, help="Only the first so many patients.")]
SaveVolumesOption = Annotated[
    bool, typer.Option("--save-volumes", help="Write coarse, refined and ground_truth of every patient.")
]
FoldOption = Annotated[str | None, typer.Option(help="Only the test patients of this fold.")]
AllowSeenOption = Annotated[
    bool, typer.Option("--allow-seen", help="Evaluate patients of the training too; results are marked.")
]


def evaluate(
    data: DataOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/ct_evaluation"),
    base_checkpoint: BaseOption = "oracle",
    refinement_checkpoint: RefinementOption = None,
    fold: FoldOption = None,
    num_patients: NumPatientsOption = None,
    save_volumes: SaveVolumesOption = False,
    allow_seen: AllowSeenOption = False,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Score constant, trilinear, unsharp masking, projection and a network inside the field of view.

    Written: metrics.json ({patient: {row: {rmse_hu, mae_hu, psnr_2500_db, psnr_4095_db, psnr_2048_db,
    psnr_400window_db, ssim, consistency_max_hu}}}), metrics.txt, evaluation.json (gains, frequencies,
    settings), and a folder patient_000, ... with pictures. PSNR always stands under the name of its peak.

    Example: revoxel ct evaluate --data set/ -o out/

    Example: revoxel ct evaluate --data set/ --refinement-checkpoint run/ --fold without-p1 -o out/

    Example: revoxel ct evaluate --data set/ --base-checkpoint oracle --refinement-checkpoint ct_detail_64
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.core.provenance import sha256_of
    from revoxel.ct.evaluation.choice import chosen_table, weights_of
    from revoxel.ct.evaluation.outputs import EvaluationPaths, save_evaluation
    from revoxel.ct.evaluation.planning import plan_evaluation, refuse_seen_patients, warnings_of
    from revoxel.ct.evaluation.run import evaluate_rows

    set_threads(threads)
    # Eight columns of numbers: on a narrower terminal lines wrap, but no digit is lost.
    console = Console(width=max(Console().width, _TABLE_WIDTH))
    plan = plan_evaluation(data, fold, num_patients)
    paths = EvaluationPaths(out)
    weights = None if refinement_checkpoint is None else weights_of(refinement_checkpoint)
    table, protocol = chosen_table(plan.study, weights, base_checkpoint, device)
    plan = refuse_seen_patients(plan, protocol, allow=allow_seen)
    if dry_run:
        _show_plan(console, plan, paths)
        return
    if not overwrite:
        paths.refuse_existing()
    facts = {
        "command": shlex.join(["revoxel", *sys.argv[1:]]),
        "study": str(data),
        "weights": None if weights is None else {"path": str(weights), "sha256": sha256_of(weights)},
        "base": base_checkpoint,
        "protocol": protocol,
        "baselines": table.baselines,
        "warnings": warnings_of(plan, protocol),
    }
    with stage_bars() as progress:
        scans = evaluate_rows(plan.study, plan.rows, table, progress)
        scored = save_evaluation(paths, scans, facts, volumes=save_volumes)
    _tell(console, scored, paths, facts)


def _tell(console: Console, scored: list[Scored], paths: EvaluationPaths, facts: Mapping[str, Any]) -> None:
    from revoxel.core.report import number_table
    from revoxel.ct.evaluation.outputs import gain_line, gains_of
    from revoxel.ct.evaluation.run import by_patient
    from revoxel.ct.evaluation.tables import score_row

    for patient, rows in by_patient(scored).items():
        table = {row: score_row(scores) for row, scores in rows.items()}
        console.print(number_table(f"{patient}, in the field of view", table, first_column="row"))
    gains = gains_of(scored, facts["baselines"])
    if gains is not None:
        console.print(gain_line(gains), soft_wrap=True)
    console.print(
        f"scores   {paths.metrics}\ntable    {paths.text}\npicture  {paths.picture(0)}", soft_wrap=True
    )


def _show_plan(console: Console, plan: EvaluationPlan, paths: EvaluationPaths) -> None:
    from revoxel.core.report import fact_table

    facts = {
        "scans": ", ".join(f"{row.name} ({row.patient_id})" for row in plan.rows),
        "voxels": f"{plan.study.spacing_mm:g} mm, factor {plan.study.factor}, coarse by {plan.study.mode}",
        "folder": str(paths.folder),
    }
    console.print(fact_table("Dry run: nothing is written", facts))
