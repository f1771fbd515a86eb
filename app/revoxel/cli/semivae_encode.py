"""`revoxel semivae encode`: brain scans with a tumour in; latents, predictions and pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from revoxel.cli.errors import EXIT_CODE_INCOMPLETE, EXPECTED
from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption
from revoxel.cli.progress import stage_bars
from revoxel.core.reasons import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from revoxel.semivae.encoding.planning import EncodePlan, EncodeSettings
    from revoxel.semivae.encoding.visits import Visit
    from revoxel.semivae.network.models import SemiVaeModel

_MOST_LINES = 20
CheckpointOption = Annotated[
    str | None,
    typer.Option(help="Checkpoint, folder of a training run, or bundle; default: the shipped bundle."),
]


def encode(
    scans: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY|FOLDER|IMAGES", help="Study file, folder, or images of one visit."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/semivae"),
    checkpoint: CheckpointOption = None,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Encode visits: the latent with its spread, what it says about the tumour, and how it reconstructs.

    Images are skull-stripped t1c, t1n, t2f and t2w on one grid; one is enough, absent ones are named in the
    record. File names state the pulse (BraTS, BIDS, TCGA); a label map beside them is measured, to be
    compared with. Written per visit: {name}_latent.json and a picture; for all: latents.csv. What was made
    from the same files with the same weights is kept. Exit code 1: a visit failed. Volumes for clinics come
    from a segmentation, not from here: research use, not for diagnosis.

    Example: revoxel semivae encode study.json -o out/latents

    Example: revoxel semivae encode BraTS-GLI-00001-000/ -o out/latents --dry-run

    Example: revoxel semivae encode p1_t1c.nii.gz p1_flair.nii.gz -o out/latents --checkpoint runs/phantom
    """
    from revoxel.core.compute import set_threads
    from revoxel.semivae.encoding.planning import EncodeSettings
    from revoxel.semivae.encoding.visits import find_visits
    from revoxel.semivae.network.models import load_model

    set_threads(threads)
    visits = find_visits(scans)
    model = load_model(checkpoint, device)
    _carry_out(visits, out, model, EncodeSettings(model.path, overwrite=overwrite), dry_run=dry_run)


def _carry_out(
    visits: Sequence[Visit], out: Path, model: SemiVaeModel, settings: EncodeSettings, *, dry_run: bool
) -> None:
    from rich.console import Console

    console = Console()
    plans, failed = _planned(visits, out, settings)
    if dry_run:
        _show_plans(console, plans, failed)
        return
    to_do = {name: plan for name, plan in plans.items() if plan.why or settings.overwrite}
    if len(to_do) < len(plans):
        console.print(f"{len(plans) - len(to_do)} of {len(plans)} visits done before, kept")
    failed |= _encoded(to_do, model) if to_do else {}
    _show(console, [plan for name, plan in plans.items() if name not in failed], out)
    for name, reason in failed.items():
        console.print(f"[red]-[/red] {escape(f'{name}: {reason}')}", soft_wrap=True)
    if failed:
        console.print(f"{len(visits) - len(failed)} of {len(visits)} visits are done, {len(failed)} failed")
        raise typer.Exit(EXIT_CODE_INCOMPLETE)


def _planned(
    visits: Sequence[Visit], out: Path, settings: EncodeSettings
) -> tuple[dict[str, EncodePlan], dict[str, str]]:
    """Plans, and reasons of the visits that cannot be encoded; that of a single visit is raised."""
    from revoxel.semivae.encoding.planning import plan_encoding

    plans, failed = {}, {}
    for visit in visits:
        try:
            plans[visit.name] = plan_encoding(visit, out, settings)
        except EXPECTED as error:
            if len(visits) == 1:
                raise
            failed[visit.name] = one_line(error)
    return plans, failed


def _encoded(plans: Mapping[str, EncodePlan], model: SemiVaeModel) -> dict[str, str]:
    """Encode, and give the reasons of the visits that failed; that of a single visit is raised."""
    from revoxel.semivae.encoding.run import encode as encode_visit

    failed = {}
    with stage_bars() as progress:
        for count, (name, plan) in enumerate(plans.items(), start=1):
            try:
                encode_visit(plan, model)
            except EXPECTED as error:
                if len(plans) == 1:
                    raise
                failed[name] = one_line(error)
            progress("visits", count / len(plans))
    return failed


def _show_plans(console: Any, plans: Mapping[str, EncodePlan], failed: Mapping[str, str]) -> None:
    from revoxel.core.report import number_table

    rows: dict[str, dict[str, float | str]] = {
        name: {
            "pulses": " ".join(plan.visit.images),
            "label map": "-" if plan.visit.label is None else plan.visit.label.name,
            "to do": plan.why or "nothing, done before",
        }
        for name, plan in plans.items()
    }
    none = {"pulses": "", "label map": ""}
    rows |= {name: {**none, "to do": f"cannot be encoded: {escape(why)}"} for name, why in failed.items()}
    n_todo = sum(bool(plan.why) for plan in plans.values())
    title = f"Dry run: {n_todo} of {len(rows)} visits to encode, nothing is written"
    console.print(number_table(title, rows, first_column="visit"))


def _show(console: Any, plans: Sequence[EncodePlan], out: Path) -> None:
    """Features of a single visit, a line for each of several; then warnings, and where to look."""
    from revoxel.core.provenance import read_sidecar
    from revoxel.core.report import number_table
    from revoxel.semivae.encoding.table import feature_rows, visit_row, write_table

    records = {plan.visit.name: read_sidecar(plan.paths.record) for plan in plans}
    if not records:
        return
    if len(records) == 1:
        title, rows = plans[0].visit.name, feature_rows(records[plans[0].visit.name])
        console.print(number_table(title, rows, first_column="feature"))
    else:
        rows = {name: visit_row(record) for name, record in list(records.items())[:_MOST_LINES]}
        title = f"{len(records)} visits" + (f", the first {len(rows)}" if len(rows) < len(records) else "")
        console.print(number_table(title, rows, digits=2, first_column="visit"))
    warnings = [f"{name}: {text}" for name, record in records.items() for text in record["warnings"]]
    for line in warnings[:_MOST_LINES]:
        console.print(f"[yellow]-[/yellow] {escape(line)}", soft_wrap=True)
    if len(warnings) > _MOST_LINES:
        console.print(f"  and {len(warnings) - _MOST_LINES} more warnings, see the records")
    console.print(f"table    {write_table(out)}\npicture  {plans[0].paths.picture}", soft_wrap=True)
