"""`revoxel semivae check`: is a study ready for a training, or a training good?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from revoxel.cli.errors import EXIT_CODE_INCOMPLETE
from revoxel.cli.options import DebugOption
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from revoxel.core.training import Sections
    from revoxel.semivae.diagnosis.checklist.items import Item

_BUNDLE = "semivae_brats"


def check(
    subject: Annotated[
        Path, typer.Argument(metavar="STUDY|RUN", help="Study file or folder, or a finished run's folder.")
    ],
    cfg: Annotated[
        Path | None,
        typer.Option(help="Configuration (YAML) of the training to come; default: the shipped one."),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Go through a checklist: of a study and its configuration before a training, or of a run after it.

    Before: label maps there, aligned and inside the cube, no tumour below 100 mm^3, folds with patients on
    every side, features that vary; sizes of the parts, order of schedules, free bits and total correlation in
    range. After: the gates on the validation patients, tumours sharp in the reconstruction, parts
    independent (distance correlation below 0.3), scans within the latents of the training. Nothing is
    written. Exit code 1: something is not right; the table says what to do.

    Example: revoxel semivae check study.json

    Example: revoxel semivae check out/run
    """
    from rich.console import Console

    from revoxel.core.training import KEPT_CONFIGURATION, default_sections, read_sections

    console = Console()
    kept = subject / KEPT_CONFIGURATION
    if kept.is_file():
        if cfg is not None:
            msg = f"--cfg must be left out for a run, which keeps its own ({kept}), got {cfg}."
            raise ValueError(msg)
        items = _of_run(subject, read_sections(kept, _BUNDLE))
    else:
        items = _of_study(subject, read_sections(cfg, _BUNDLE) if cfg else default_sections(_BUNDLE))
    console.print(_table(str(subject), items))
    failed = sum(not item.passed for item in items)
    console.print(f"{len(items) - failed} of {len(items)} are right")
    if failed:
        raise typer.Exit(EXIT_CODE_INCOMPLETE)


def _of_run(folder: Path, sections: Sections) -> list[Item]:
    from revoxel.semivae.diagnosis.checklist.configuration import check_configuration
    from revoxel.semivae.diagnosis.checklist.run import check_run

    return [*check_configuration(sections), *check_run(folder)]


def _of_study(path: Path, sections: Sections) -> list[Item]:
    from revoxel.semivae.diagnosis.checklist.configuration import check_configuration
    from revoxel.semivae.diagnosis.checklist.study import check_study
    from revoxel.semivae.features.resampled import NetworkGrid
    from revoxel.semivae.learning.configuration import architecture
    from revoxel.semivae.learning.measures import study_file
    from revoxel.semivae.network.partition import as_partition
    from revoxel.semivae.study import read_study

    study, items = read_study(study_file(path)), check_configuration(sections)
    if not items[0].passed:
        # Without parts there are no features to look for.
        return items
    network, data = sections["network"], sections["data"]
    arguments = architecture(network["size"], network["partition"], network["arguments"])
    grid = NetworkGrid(data["voxel_mm"], arguments["spatial_size"])
    with stage_bars() as progress:
        found = check_study(
            study,
            grid,
            as_partition(network["partition"]),
            lambda share: progress("measure", share),
            data["min_count"],
        )
    return [*items, *found]


def _table(title: str, items: Sequence[Item]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("what should hold", "", "found", "what to do", title=title, title_justify="left")
    for item in items:
        mark = "[green]right[/green]" if item.passed else "[red]wrong[/red]"
        table.add_row(
            escape(item.question), mark, escape(item.found), "" if item.passed else escape(item.remedy)
        )
    return table
