"""`revoxel ct prepare`: scans to a study of fine and coarse volumes on one grid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from revoxel.cli.options import DebugOption, DryRunOption, OverwriteOption, SeedOption, ThreadsOption
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from revoxel.ct.scans.sources import CtSource
    from revoxel.ct.scans.study import CtRow, CtStudy


def prepare(
    scans: Annotated[
        list[Path],
        typer.Argument(help="NIfTI, MHA or NRRD files, DICOM series folders, or folders of these."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the study; extended if it exists.")],
    spacing_mm: Annotated[float, typer.Option(help="Voxel size of the fine volumes.")] = 1.5,
    size: Annotated[
        str, typer.Option(help="Sides of the fine volumes in voxels, around the middle; none: all of a scan.")
    ] = "none",
    factor: Annotated[Literal["2", "4"], typer.Option(help="Coarse over fine spacing.")] = "4",
    mode: Annotated[
        Literal["area", "blur", "corrupt"],
        typer.Option(help="Coarse volumes: block means, blurred first, or with a smooth random error."),
    ] = "area",
    patient_id: Annotated[
        list[str] | None,
        typer.Option(help="Whose a scan is; default: its own name. Repeatable.", metavar="NAME=PATIENT"),
    ] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(
            help="Terms of one scan, or of all others without NAME=. Repeatable.", metavar="[NAME=]TEXT"
        ),
    ] = None,
    weights_may_ship: Annotated[
        list[str] | None,
        typer.Option(
            help="Scan whose terms permit giving away weights trained on it. Repeatable.", metavar="NAME"
        ),
    ] = None,
    allow_no_air: Annotated[
        bool, typer.Option("--allow-no-air", help="Accept scans without air, such as crops inside the body.")
    ] = False,
    dry_run: DryRunOption = False,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring CT scans onto one grid in HU, make coarse volumes of them, and write study.json with folds.

    NAME is a file's name without its suffix, or a folder's name. Scans of one person must share a PATIENT, or
    folds would train and test on the same person. A run that was stopped goes on where it was.

    Example: revoxel ct prepare scans/ -o set --spacing-mm 1.5 --patient-id a=p1 --patient-id b=p1
    """
    from revoxel.core.compute import set_threads
    from revoxel.ct.scans.prepare import PrepareRecipe, check_recipe, prepare_study
    from revoxel.ct.scans.sources import Statements, describe_sources, find_scans

    set_threads(threads)
    recipe = PrepareRecipe(
        spacing_mm, _parse_size(size), 4 if factor == "4" else 2, mode, allow_no_air=allow_no_air, seed=seed
    )
    said = Statements(
        _parse_pairs(patient_id or [], "--patient-id"), _parse_licences(licence or []), weights_may_ship or ()
    )
    sources = describe_sources(find_scans(scans), said)
    check_recipe(sources, recipe, out)
    if dry_run:
        _show_found(sources)
        return
    with stage_bars() as report:
        study = prepare_study(sources, recipe, out, overwrite=overwrite, progress=report)
    _show(study, out)


def _show_found(sources: "list[CtSource]") -> None:
    from rich.console import Console

    from revoxel.core.report import number_table

    found: dict[str, dict[str, float | str]] = {
        source.name: {"patient": source.patient_id, "licence": source.licence, "file": source.path.name}
        for source in sources
    }
    Console().print(number_table("Nothing written (dry run)", found))


def _show(study: "CtStudy", out: Path) -> None:
    from rich.console import Console

    from revoxel.core.report import fact_table, number_table
    from revoxel.ct.scans.prepare import PICTURE_FILE
    from revoxel.ct.scans.study import STUDY_FILE

    console = Console()
    console.print(number_table("Study", {row.name: _shown(row) for row in study.rows}))
    interpolated = ", ".join(row.name for row in study.rows if row.is_interpolated)
    if interpolated:
        text = f"scanned coarser than {study.spacing_mm:g} mm, so interpolated, no truth at that size: "
        console.print(f"[yellow]-[/yellow] {text}{interpolated}", soft_wrap=True)
    facts = {
        "folds": ", ".join(fold.name for fold in study.folds) or "none: one patient is not enough",
        "written": str(out / STUDY_FILE),
        "picture": str(out / PICTURE_FILE),
    }
    console.print(fact_table("Prepared", facts))


def _shown(row: "CtRow") -> dict[str, float | str]:
    spacing_mm = " x ".join(f"{mm:.3g}" for mm in row.source_spacing_mm or ())
    return {"patient": row.patient_id, "scanned at mm": spacing_mm, "licence": row.licence}


def _parse_size(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal():
        msg = f"--size must be a number of voxels or none, got {text!r}; use --size 256."
        raise ValueError(msg)
    return int(text)


def _parse_pairs(texts: list[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name and value) or name in pairs:
            msg = f"{option} must be NAME=VALUE, each name once, got {text!r}; use {option} scan=p1."
            raise ValueError(msg)
        pairs[name] = value
    return pairs


def _parse_licences(texts: list[str]) -> dict[str, str]:
    """Terms by scan; those without a name stand under the empty one."""
    general = [text for text in texts if "=" not in text]
    if len(general) > 1:
        msg = f"--licence without a name must come once, got {general}; name the scans: --licence scan=TEXT."
        raise ValueError(msg)
    named = _parse_pairs([text for text in texts if "=" in text], "--licence")
    return {**named, **({"": general[0]} if general else {})}
