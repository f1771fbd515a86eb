"""`revoxel asl quantify`: ASL scans in, CBF and ATT maps out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from revoxel.asl.scans.stated import Stated
from revoxel.cli.asl_parsing import parse_numbers
from revoxel.cli.asl_stated_options import (
    AlphaBsOption,
    AlphaOption,
    AlphaVsaslOption,
    AlreadySubtractedOption,
    BolusMsOption,
    EchoOption,
    LabelFirstOption,
    LabellingDurationsMsOption,
    LabellingOption,
    M0Option,
    M0TrMsOption,
    PldsMsOption,
    T1BloodMsOption,
    VsaslOption,
    VsaslPldsMsOption,
)
from revoxel.cli.errors import EXIT_CODE_INCOMPLETE, EXPECTED
from revoxel.cli.options import DebugOption, DeviceOption, DryRunOption, OverwriteOption, ThreadsOption
from revoxel.cli.progress import stage_bars
from revoxel.core.reasons import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from revoxel.asl.quantification.planning import QuantifySettings, ScanPlan

MethodOption = Annotated[
    Literal["fit", "network", "auto"],
    typer.Option(help="Who makes the maps; auto: a network where it is made for the delays."),
]
ArterialOption = Annotated[
    bool, typer.Option("--arterial", help="Fit blood still in arteries too: maps of aBV and aBAT.")
]
ModelsOption = Annotated[
    list[Path] | None,
    typer.Option("--model", help="Trained network instead of a shipped one; several: their mean."),
]
NonfiniteOption = Annotated[
    Literal["raise", "mask"], typer.Option(help="Voxels of the mask that are not finite.")
]


def quantify(
    scans: Annotated[list[Path], typer.Argument(help="BIDS folder (data set, subject), or ASL NIfTI files.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("out/asl"),
    mask: Annotated[Path | None, typer.Option(help="Brain mask; default: found on M0.")] = None,
    gm: Annotated[Path | None, typer.Option(help="Probability map of grey matter, aligned.")] = None,
    wm: Annotated[Path | None, typer.Option(help="Probability map of white matter, aligned.")] = None,
    method: MethodOption = "fit",
    model: ModelsOption = None,
    motion: Annotated[Literal["none", "rigid"], typer.Option(help="Correct motion of the head.")] = "none",
    arterial: ArterialOption = False,
    on_nonfinite: NonfiniteOption = "raise",
    m0: M0Option = None,
    m0_tr_ms: M0TrMsOption = None,
    labelling: LabellingOption = None,
    plds_ms: PldsMsOption = "",
    labelling_durations_ms: LabellingDurationsMsOption = "",
    bolus_ms: BolusMsOption = None,
    vsasl: VsaslOption = None,
    vsasl_plds_ms: VsaslPldsMsOption = "",
    already_subtracted: AlreadySubtractedOption = False,
    label_first: LabelFirstOption = False,
    echo: EchoOption = None,
    t1_blood_ms: T1BloodMsOption = None,
    alpha: AlphaOption = None,
    alpha_vsasl: AlphaVsaslOption = None,
    alpha_bs: AlphaBsOption = None,
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn ASL scans into maps of CBF and ATT with their standard deviations.

    BIDS folders explain themselves; PCASL and VSASL of one session are fitted together. For other files say
    what the sidecar would. Results of the same files and settings are kept. Exit code 1: a scan failed.

    Example: revoxel asl quantify bids/ -o out/

    Example: revoxel asl quantify dm.nii.gz --already-subtracted --m0 m0.nii.gz --plds-ms 500,1000,1500,2000
    --labelling-durations-ms 1800 -o out/
    """
    from revoxel.asl.quantification.planning import QuantifySettings

    settings = QuantifySettings(
        stated=Stated(
            labelling=labelling,
            plds_ms=parse_numbers(plds_ms, "--plds-ms"),
            labelling_durations_ms=parse_numbers(labelling_durations_ms, "--labelling-durations-ms"),
            bolus_ms=bolus_ms,
            already_subtracted=already_subtracted,
            label_first=label_first,
            echo=echo,
            m0=_file_or_number(m0),
            m0_tr_ms=m0_tr_ms,
            t1_blood_ms=t1_blood_ms,
            alpha=alpha,
            alpha_vsasl=alpha_vsasl,
            alpha_bs=alpha_bs,
            vsasl=vsasl,
            vsasl_plds_ms=parse_numbers(vsasl_plds_ms, "--vsasl-plds-ms"),
        ),
        mask=mask,
        grey=gm,
        white=wm,
        **how_of(method, model or [], motion, arterial=arterial, on_nonfinite=on_nonfinite, device=device),
        overwrite=overwrite,
    )
    _carry_out(scans, out, settings, threads, dry_run=dry_run)


def how_of(
    method: str, models: Sequence[Path], motion: str, *, arterial: bool, on_nonfinite: str, device: str
) -> dict[str, Any]:
    """Turn the options that say how maps are made into fields of `QuantifySettings`.

    Args:
        method: `fit`, `network` or `auto`.
        models: Trained networks instead of a shipped one.
        motion: `none` or `rigid`.
        arterial: Fit blood in arteries too.
        on_nonfinite: `raise` or `mask`.
        device: Where networks run.

    Returns:
        Values of `realign`, `fit` and `method`.

    Raises:
        ValueError: If networks are named and the fit is asked for.
    """
    from revoxel.asl.fitting.fit import FitSettings
    from revoxel.asl.fitting.levenberg import LmSettings
    from revoxel.asl.quantification.methods import Method, MethodChoice
    from revoxel.core.paths import absolute

    ranges = FitSettings(on_nonfinite=on_nonfinite)
    return {
        "realign": motion == "rigid",
        "fit": LmSettings(ranges, arterial=True) if arterial else ranges,
        "method": MethodChoice(Method(method), tuple(map(absolute, models)), device),
    }


def _file_or_number(text: str | None) -> Path | float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return Path(text)


def _carry_out(
    scans: list[Path], out: Path, settings: QuantifySettings, threads: int | None, *, dry_run: bool
) -> None:
    from rich.console import Console

    from revoxel.asl.quantification.planning import find_groups, plan_scan
    from revoxel.asl.quantification.quantify import quantify_scan
    from revoxel.core.compute import set_threads

    set_threads(threads)
    console = Console()
    groups = find_groups(scans, settings.stated)
    failed: dict[str, str] = {}
    for group in groups:
        try:
            plan = plan_scan(group, out, settings)
            if dry_run:
                _show_plan(console, plan)
            elif not plan.why and not settings.overwrite:
                console.print(
                    f"{escape(group.stem)}: done before, kept ({plan.paths.record})", soft_wrap=True
                )
            else:
                with stage_bars() as progress:
                    result = quantify_scan(plan, settings, progress)
                _show(console, group.stem, result.record)
                console.print(
                    f"maps     {result.paths.file('cbf')}\npicture  {result.paths.picture}\n"
                    f"report   {result.paths.page}",
                    soft_wrap=True,
                )
        except EXPECTED as error:
            if len(groups) == 1:
                raise
            failed[group.stem] = one_line(error)
    for stem, reason in failed.items():
        console.print(f"[red]-[/red] {escape(f'{stem}: {reason}')}", soft_wrap=True)
    if failed:
        console.print(f"{len(groups) - len(failed)} of {len(groups)} scans are done, {len(failed)} failed")
        raise typer.Exit(EXIT_CODE_INCOMPLETE)


def _show_plan(console: Any, plan: ScanPlan) -> None:
    from revoxel.core.report import fact_table

    facts = {role: str(path) for role, path in plan.inputs.items()}
    for one in plan.series:
        delays = sorted(
            {delay for delay, kind in zip(one.delays, one.volume_types, strict=True) if kind != "m0scan"}
        )
        facts[f"{one.labelling} delays"] = ", ".join(f"{delay.pld_ms:g}" for delay in delays) + " ms"
    facts["result"] = f"{plan.paths.record.parent} ({plan.why or 'done before'})"
    notes = [note for one in plan.series for note in one.notes]
    facts |= {f"warning {number}": text for number, text in enumerate(notes, start=1)}
    console.print(fact_table(f"Dry run: nothing is written for {plan.group.stem}", facts))


def _show(console: Any, stem: str, record: Mapping[str, Any]) -> None:
    from revoxel.asl.quantification.report import agreement_rows, facts_of, number_rows
    from revoxel.core.report import fact_table, number_table

    regions, agreement = number_rows(record), agreement_rows(record)
    console.print(number_table(f"{stem}: {regions['note']}", _by_row(regions), first_column="region"))
    if agreement:
        console.print(number_table("Agreement with the fit", _by_row(agreement), first_column="map"))
    console.print(fact_table("How", facts_of(record)))
    if record["warnings"]:
        numbered = {str(number): text for number, text in enumerate(record["warnings"], start=1)}
        console.print(fact_table("Warnings", numbered))


def _by_row(table: Mapping[str, Any]) -> dict[str, dict[str, float | str]]:
    return {row[0]: dict(zip(table["columns"][1:], row[1:], strict=True)) for row in table["rows"]}
