"""The tables, once as plain cells: for the console, for the page and for CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from revoxel.core.report import number_table
from revoxel.sagnef.baselines import ORACLES, Baseline
from revoxel.sagnef.comparison.summary import ROW_ORDER, Block, Claim, decibels, gain_db, gap_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from revoxel.sagnef.comparison.results import CaseResult

_ABSENT = "-"
_PAGE_ONLY = {"RMSE %", "gap to volume %", "gap to voxel %", "95 % interval, p"}


@dataclass(frozen=True)
class PlainTable:
    """A table of texts.

    Attributes:
        title: Heading.
        columns: Heads of the columns; the first names the rows.
        rows: Cells.
        note: What a reader must know to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def for_console(self) -> Table:
        """The same for rich, without the columns that only the page has room for."""
        rows: dict[str, dict[str, float | str]] = {
            cells[0]: {
                column: cell
                for column, cell in zip(self.columns[1:], cells[1:], strict=True)
                if column not in _PAGE_ONLY
            }
            for cells in self.rows
        }
        return number_table(self.title, rows, first_column=self.columns[0])


def block_table(block: Block) -> PlainTable:
    """Scores of one spacing, pulse, condition and region.

    Args:
        block: Its numbers.
    """
    columns = ("method", "PSNR dB", "SSIM", "RMSE %", "gain dB", "worst dB")
    shares = tuple(f"gap to {oracle.removeprefix('oracle: ')} %" for oracle in ORACLES)
    rows = tuple(
        (
            name,
            f"{row.psnr_db:.2f}",
            f"{row.ssim:.4f}",
            f"{row.rmse_percent:.3f}",
            f"{row.gain_db:+.2f}",
            f"{row.worst_gain_db:+.2f}",
            *(_percent(row.gap_shares[oracle]) for oracle in ORACLES),
        )
        for name, row in block.rows.items()
    )
    note = (
        f"{len(block.patients)} patient(s): {', '.join(block.patients)}. Region: "
        f"{' / '.join(block.descriptions)}. Best expert on training: {', '.join(block.best_experts)}."
    )
    return PlainTable(block.title, (*columns, *shares), rows, note)


def claims_table(claims: Sequence[Claim], region: str) -> PlainTable:
    """What the method gives, condition by condition.

    Args:
        claims: All claims.
        region: Where.
    """
    columns = (
        "condition: method",
        "gain dB",
        "worst dB",
        "over volume's best",
        "over B-spline",
        "95 % interval, p",
    )
    rows = tuple(
        (
            f"{claim.condition or 'no condition'}: {claim.row}",
            f"{claim.comparison.mean_db:+.2f}",
            f"{claim.worst_db:+.2f}",
            f"{claim.worst_over_volume_best_db:+.2f}",
            _signed(claim.worst_over_bspline_db),
            _interval(claim),
        )
        for claim in claims
    )
    note = (
        "PSNR over the best expert of training: mean over patients, and the worst case; the worst case over "
        "the expert that is best on that very volume, and over B-spline."
    )
    return PlainTable(f"What fusion gives, {region}", columns, rows, note)


def usage_table(results: Sequence[CaseResult]) -> PlainTable | None:
    """How the gate used the experts, case by case.

    Args:
        results: Evaluated cases.

    Returns:
        The table, or None if no case had a gate.
    """
    having = [result for result in results if result.usage]
    names = list(dict.fromkeys(name for result in having for name in result.usage))
    rows = tuple(
        (
            case_name(result),
            *(
                f"{result.usage[name].mean_weight:.2f} / {100 * result.usage[name].dominant_share:.0f} %"
                if name in result.usage
                else _ABSENT
                for name in names
            ),
            f"{result.entropy_nat:.2f}",
        )
        for result in having
    )
    note = "Mean weight / share of voxels ruled, inside the brain where the experts differ."
    return PlainTable("Expert usage", ("case", *names, "entropy nat"), rows, note) if having else None


def decision_table(results: Sequence[CaseResult]) -> PlainTable:
    """What superresolve decided on every case, and what a reader should know about it.

    Args:
        results: Evaluated cases.
    """
    rows = tuple(
        (case_name(result), result.decision, "; ".join(result.notes) or _ABSENT) for result in results
    )
    return PlainTable("What superresolve decides", ("case", "decision", "notes"), rows)


def gains_table(results: Sequence[CaseResult], region: str) -> PlainTable:
    """Gain of every row on every case: nothing hides in a mean.

    Args:
        results: Evaluated cases.
        region: Where.
    """
    names = [
        name
        for name in ROW_ORDER
        if name != Baseline.BEST and any(name in r.regions[region].rows for r in results)
    ]
    rows = tuple(
        (
            case_name(result),
            *(
                f"{gain_db(result, region, name):+.2f}" if name in result.regions[region].rows else _ABSENT
                for name in names
            ),
        )
        for result in results
    )
    note = "PSNR over the best expert of training, dB."
    return PlainTable(f"Every case, {region}", ("case", *names), rows, note)


def case_name(result: CaseResult) -> str:
    """A case for people; marked if the gate may have seen the patient."""
    facts = (result.pulse, result.spacing, result.condition)
    parts = (result.subject, *(fact for fact in facts if fact not in result.subject))
    return " ".join((*(part for part in parts if part), *(("(SEEN IN TRAINING)",) if result.seen else ())))


def cases_csv(results: Sequence[CaseResult]) -> str:
    """One line per case, region and row.

    Args:
        results: Evaluated cases.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in results:
        writer.writerows(_csv_lines(result))
    return text.getvalue()


_FACTS = ("fold", "subject", "patient", "pulse", "spacing", "axis", "condition", "seen", "best_expert")
_SCORES = ("psnr_db", "ssim", "rmse", "data_range", "gain_db")
_CSV_COLUMNS = (
    *_FACTS,
    "region",
    "method",
    "sees_truth",
    *_SCORES,
    *(f"gap_share_{oracle.rpartition(' ')[2].replace('-', '_')}" for oracle in ORACLES),
)


def _csv_lines(result: CaseResult) -> Iterator[dict[str, object]]:
    facts = {name: getattr(result, name) for name in _FACTS}
    for region, scored in result.regions.items():
        for name, row in scored.rows.items():
            scores = (decibels(row), row.ssim, row.rmse, row.data_range, gain_db(result, region, name))
            shares = (gap_share([result], region, name, oracle) for oracle in ORACLES)
            cells = (region, name, name in ORACLES, *scores, *shares)
            yield facts | dict(zip(_CSV_COLUMNS[len(_FACTS) :], cells, strict=True))


def _percent(share: float | None) -> str:
    return _ABSENT if share is None else f"{100 * share:.0f}"


def _signed(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:+.2f}"


def _interval(claim: Claim) -> str:
    interval = claim.comparison.interval_db
    if interval is None:
        singles = ", ".join(f"{who} {gain:+.2f}" for who, gain in claim.comparison.gains_db.items())
        return f"too few patients for either: {singles}"
    return f"{interval[0]:+.2f} to {interval[1]:+.2f}, p {claim.comparison.p:.2g}"
