"""`revoxel semivae traverse`: a scan in; what it would look like with another volume, place or shape out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from revoxel.cli.errors import EXIT_CODE_INCOMPLETE, EXPECTED
from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption
from revoxel.cli.progress import stage_bars
from revoxel.cli.semivae_encode import CheckpointOption
from revoxel.core.reasons import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from revoxel.core.pulses import Pulse
    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.traversal.planning import TraversePlan


def traverse(
    scans: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY|FOLDER|IMAGES", help="Study file, folder, or images of one visit."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/semivae_traversal"),
    checkpoint: CheckpointOption = None,
    features: Annotated[
        str | None,
        typer.Option(help="Features to change, separated by commas; default: all of wt.", metavar="A,B,.."),
    ] = None,
    residual: Annotated[int, typer.Option(min=0, help="Most active numbers of the residual.")] = 3,
    reach: Annotated[float, typer.Option(help="How far both ways, in SD of the training patients.")] = 2.0,
    steps: Annotated[int, typer.Option(help="Images per direction, an odd number.")] = 5,
    pulses: Annotated[str, typer.Option(help="Pulses to write; pictures show the first.")] = "t1c,t2f",
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Change one thing about a tumour in the latent and decode what the scan would look like.

    A feature is changed by the shortest step of its part of the latent that leaves the part's other features
    as they are. Written per visit and direction: a 4D NIfTI per pulse on the network's cube, in the scan's
    place; a PNG and a GIF of all; and a record with the values that were asked for and those found when the
    decoded images are encoded again. What was made before is kept. Exit code 1: a visit failed.

    Example: revoxel semivae traverse BraTS-GLI-00001-000/ -o out/traversal

    Example: revoxel semivae traverse study.json --features wt.log_volume --reach 3 --steps 7 --residual 0
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.semivae.encoding.visits import find_visits
    from revoxel.semivae.network.models import load_model
    from revoxel.semivae.traversal.planning import TraverseSettings, plan_traversal

    set_threads(threads)
    visits = find_visits(scans)
    model = load_model(checkpoint, device)
    settings = TraverseSettings(
        model.path, _names(features), residual, reach, steps, _pulses(pulses), overwrite=overwrite
    )
    plans = [plan_traversal(visit, out, settings) for visit in visits]
    console = Console()
    if dry_run:
        _show_plans(console, plans)
        return
    failed = _carried_out([plan for plan in plans if plan.why or overwrite], model)
    _show(console, [plan for plan in plans if plan.visit.name not in failed])
    for name, reason in failed.items():
        console.print(f"[red]-[/red] {escape(f'{name}: {reason}')}", soft_wrap=True)
    if failed:
        raise typer.Exit(EXIT_CODE_INCOMPLETE)


def _carried_out(plans: Sequence[TraversePlan], model: SemiVaeModel) -> Mapping[str, str]:
    """Reasons of the visits that failed; that of a single visit is raised."""
    from revoxel.semivae.traversal.run import traverse as traverse_plan

    failed = {}
    with stage_bars() as progress:
        for count, plan in enumerate(plans, start=1):
            try:
                traverse_plan(plan, model, progress)
            except EXPECTED as error:
                if len(plans) == 1:
                    raise
                failed[plan.visit.name] = one_line(error)
            progress("visits", count / len(plans))
    return failed


def _show_plans(console: Console, plans: Sequence[TraversePlan]) -> None:
    from revoxel.core.report import number_table

    rows: dict[str, dict[str, float | str]] = {
        plan.visit.name: {"to do": plan.why or "nothing, done before", "folder": str(plan.paths.folder)}
        for plan in plans
    }
    console.print(number_table("Dry run: nothing is written", rows, first_column="visit"))


def _show(console: Console, plans: Sequence[TraversePlan]) -> None:
    """Of each visit: features asked for and found at both ends; where to look."""
    from revoxel.core.provenance import read_sidecar
    from revoxel.core.report import number_table

    for plan in plans:
        told = read_sidecar(plan.paths.record)["directions"]
        rows: dict[str, dict[str, float | str]] = {
            name: {
                "asked": f"{one['asked'][0]:.3g} .. {one['asked'][-1]:.3g}",
                "found": f"{one['found'][0]:.3g} .. {one['found'][-1]:.3g}",
            }
            for name, one in told.items()
            if "asked" in one
        }
        if rows:
            console.print(number_table(plan.visit.name, rows, first_column="feature"))
        console.print(f"picture  {plan.paths.picture}\nfilm     {plan.paths.film}", soft_wrap=True)


def _names(features: str | None) -> tuple[str, ...] | None:
    return None if features is None else tuple(name.strip() for name in features.split(",") if name.strip())


def _pulses(text: str) -> tuple[Pulse, ...]:
    from revoxel.core.pulses import Pulse

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or not set(names) <= {pulse.value for pulse in Pulse}:
        msg = f"--pulses must be some of {', '.join(Pulse)}, got {text!r}; use --pulses t1c,t2f."
        raise ValueError(msg)
    return tuple(dict.fromkeys(Pulse(name) for name in names))
