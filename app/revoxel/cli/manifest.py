"""`revoxel manifest`: describe a study's volumes in one file, with everything that is missing or wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.markup import escape

from revoxel.cli.errors import EXIT_CODE_INCOMPLETE
from revoxel.cli.options import DebugOption, DryRunOption, OverwriteOption, SeedOption, ThreadsOption
from revoxel.cli.parsing import parse_choices, parse_experts, parse_profile
from revoxel.cli.progress import stage_bars

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from revoxel.sagnef.study.build import Study, StudySettings
    from revoxel.sagnef.study.rows import Row, Wanted

_PLACES = "Where the volumes lie"
_MOST_LINES = 20

RootArgument = Annotated[Path | None, typer.Argument(help="Folder of the study.")]
OutOption = Annotated[
    Path, typer.Option("-o", "--out", help="The manifest; a CSV with one line per volume goes beside it.")
]
LayoutOption = Annotated[str, typer.Option(help="auto, cohort or plain: see above.", rich_help_panel=_PLACES)]
TruthOption = Annotated[
    list[str] | None,
    typer.Option("--hr-template", help="Path of the truths; repeatable.", rich_help_panel=_PLACES),
]
ScanOption = Annotated[
    list[str] | None,
    typer.Option("--lr-template", help="Path of the scans; repeatable.", rich_help_panel=_PLACES),
]
ExpertOption = Annotated[
    list[str] | None,
    typer.Option(
        "--expert-template", help="Path of the expert volumes; repeatable.", rich_help_panel=_PLACES
    ),
]
PulsesOption = Annotated[str, typer.Option(help="Which pulses; default: all found.", metavar="A,B,..")]
SpacingsOption = Annotated[str, typer.Option(help="Which spacings; default: all found.", metavar="A,B,..")]
ExpertsOption = Annotated[str, typer.Option(help="Which experts.", metavar="A,B,..")]
FoldsOption = Annotated[int, typer.Option(min=0, help="Patient-wise folds, at least 3; 0: none.")]
ScanProfileOption = Annotated[
    str,
    typer.Option(
        help="Slice profile of the scans: auto (what revoxel simulate recorded, else estimated), estimate, "
        "gauss:FWHM, rect:WIDTH, slr:WIDTH (mm) or FILE.npy."
    ),
]
NoTruthOption = Annotated[bool, typer.Option("--no-truth", help="Scans only, no truths: for inference.")]
ExcludeOption = Annotated[
    bool,
    typer.Option(
        "--exclude-interpolated",
        help="Leave out rows whose truth looks interpolated along the slices, instead of warning.",
    ),
]
VerifyOption = Annotated[
    Path | None,
    typer.Option(help="Compare the files of this manifest with their checksums, do nothing else."),
]
WorkersOption = Annotated[int, typer.Option(min=1, help="Volumes that are read at a time.")]


def manifest(
    root: RootArgument = None,
    out: OutOption = Path("kfolds_manifest.json"),
    layout: LayoutOption = "auto",
    hr_template: TruthOption = None,
    lr_template: ScanOption = None,
    expert_template: ExpertOption = None,
    pulses: PulsesOption = "",
    spacings: SpacingsOption = "",
    experts: ExpertsOption = "BSPLINE,ECLARE,SMORE,UNIRES",
    folds: FoldsOption = 5,
    profile: ScanProfileOption = "auto",
    no_truth: NoTruthOption = False,
    exclude_interpolated: ExcludeOption = False,
    verify: VerifyOption = None,
    workers: WorkersOption = 1,
    dry_run: DryRunOption = False,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Find scans, truths and expert volumes, check each, split patients into folds, write the manifest.

    A scan is recognised by a folder or an ending that names its spacing (5mm/SUBJECT-t1c.nii.gz,
    SUBJECT-t1c_5mm.nii.gz) or by _LR at its end; its experts lie beside it (SUBJECT-t1c_SR-SMORE.nii.gz) or
    in SR_SMORE/5mm/. Layout cohort: high_resolution/SUBJECT/, low_res/5mm/SUBJECT/ and
    SMORE/5mm/output_volumes/. Other layouts: templates without the file's ending, relative to ROOT, with
    {subject} (or {patient} and {timepoint}), {pulse}, {spacing}, {condition}, {expert}, and {lr} for the
    scan; * and **/ match anything.

    Rows with a damaged, misplaced or missing file are listed and left out (exit code 1); missing experts are
    only listed: revoxel experts --manifest makes them. All time points of a patient are in one fold.

    Example: revoxel manifest study/ -o study/kfolds_manifest.json --folds 5

    Example: revoxel manifest study/ --lr-template 'thick/{spacing}/{subject}_{pulse}' --hr-template
    'fine/{subject}_{pulse}' --dry-run
    """
    from rich.console import Console

    from revoxel.core.compute import set_threads
    from revoxel.core.pulses import Pulse, Spacing
    from revoxel.sagnef.study.build import StudySettings
    from revoxel.sagnef.study.layouts import layout_of
    from revoxel.sagnef.study.rows import Wanted

    set_threads(threads)
    if verify is not None:
        _verify(Console(), verify)
        return
    wanted = Wanted(
        layout=layout_of(layout, hr=hr_template, lr=lr_template, expert=expert_template),
        pulses=parse_choices(pulses, Pulse, "--pulses"),
        spacings=parse_choices(spacings, Spacing, "--spacings"),
        experts=parse_experts(experts),
        truth=not no_truth,
    )
    settings = StudySettings(
        profile=None if profile == "estimate" else parse_profile(profile),
        trust_sidecar=profile == "auto",
        exclude_interpolated=exclude_interpolated,
        n_folds=folds,
        seed=seed,
        n_workers=workers,
    )
    _run(Job(root, out, wanted, settings), dry_run=dry_run, overwrite=overwrite)


class Job(NamedTuple):
    """What is asked for.

    Args:
        root: Folder of the study.
        out: The manifest to write.
        wanted: What to look for.
        settings: How rows are judged.
    """

    root: Path | None
    out: Path
    wanted: "Wanted"
    settings: "StudySettings"


def _run(job: Job, *, dry_run: bool, overwrite: bool) -> None:
    from revoxel.sagnef.study.rows import find_rows

    if job.root is None:
        msg = "ROOT must be the folder of a study, got none; give it, or --verify MANIFEST."
        raise ValueError(msg)
    if not dry_run and not overwrite:
        refuse_existing(job.out)
    layout, rows = find_rows(job.root, job.wanted)
    describe(job, rows, f"{job.root} (layout {layout.name})", dry_run=dry_run)


def describe(job: Job, rows: "list[Row]", title: str, *, dry_run: bool) -> None:
    """Show what was found, read every volume, and write manifest and CSV.

    Args:
        job: What is asked for.
        rows: What was found.
        title: Of the table.
        dry_run: Show only.

    Raises:
        Exit: With code 1 if rows were left out.
    """
    from rich.console import Console

    from revoxel.sagnef.study.build import build_study, write_study

    console = Console()
    console.print(_found_table(title, rows, job.wanted))
    if dry_run:
        print_lines(console, [f"{row.name}: {problem}" for row in rows for problem in row.problems])
        return
    with stage_bars() as progress:
        study = build_study(rows, job.wanted, job.settings, lambda share: progress("volumes", share))
    table = write_study(study, job.root or Path(), job.out)
    _print_study(console, study)
    console.print(f"manifest {job.out}\nvolumes  {table}", soft_wrap=True)
    if study.n_left_out:
        raise typer.Exit(EXIT_CODE_INCOMPLETE)


def refuse_existing(out: Path) -> None:
    """Stop before any reading when a manifest would be lost.

    Args:
        out: The manifest to write.

    Raises:
        FileExistsError: If it or its CSV exists.
    """
    for path in (out, out.with_suffix(".csv")):
        if path.exists():
            msg = f"{path} exists already; pass --overwrite to describe the study anew, or choose another -o."
            raise FileExistsError(msg)


def _found_table(title: str, rows: "list[Row]", wanted: "Wanted") -> "Table":
    """How many volumes of each kind there are, by spacing and pulse."""
    from revoxel.core.report import number_table

    kinds: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.fields.get("spacing", ""), row.fields["pulse"])):
        kinds.setdefault(f"{row.fields.get('spacing', 'by header')} {row.fields['pulse']}", []).append(row)
    counts: dict[str, dict[str, float | str]] = {
        kind: {
            "patients": len({row.fields["patient"] for row in some}),
            "lr": sum(row.lr is not None for row in some),
            "hr": sum(row.hr is not None for row in some),
            **{expert.value: sum(expert in row.experts for row in some) for expert in wanted.experts},
        }
        for kind, some in kinds.items()
    }
    return number_table(title, counts, digits=0)


def _print_study(console: "Console", study: "Study") -> None:
    from revoxel.core.report import number_table
    from revoxel.sagnef.study.build import empty_splits

    for style, lines in (("red", study.problems()), ("yellow", study.warnings())):
        print_lines(console, lines, style)
    missing = study.n_missing_experts
    if missing:
        console.print(f"{missing} expert volumes are missing; make them with revoxel experts --manifest")
    folds: dict[str, dict[str, float | str]] = {
        fold.name: {"train": len(fold.train), "val": len(fold.val), "test": len(fold.test)}
        for fold in study.manifest.folds
    }
    if folds:
        console.print(number_table("Patients per fold", folds, digits=0))
    print_lines(console, empty_splits(study.manifest), "yellow")
    used, left_out = len(study.manifest.cases), study.n_left_out
    console.print(f"{used} rows, {left_out} left out" if left_out else f"{used} rows")


def print_lines(console: "Console", lines: list[str], style: str = "yellow") -> None:
    """Show the first lines of a list, and how many more there are.

    Args:
        console: Where.
        lines: What to show.
        style: Colour of the marks.
    """
    for line in lines[:_MOST_LINES]:
        console.print(f"[{style}]-[/{style}] {escape(line)}", soft_wrap=True)
    if len(lines) > _MOST_LINES:
        console.print(f"[{style}]-[/{style}] and {len(lines) - _MOST_LINES} more: see the CSV")


def _verify(console: "Console", path: Path) -> None:
    from revoxel.core.manifest import load_manifest

    study = load_manifest(path)
    with stage_bars() as progress:
        lines = study.changed_files(lambda share: progress("checksums", share))
    print_lines(console, lines, "red")
    n_files = sum(len(case.sha256) for case in study.cases)
    console.print(f"{n_files} checksums compared, {len(lines)} files missing or changed")
    if lines:
        raise typer.Exit(EXIT_CODE_INCOMPLETE)
