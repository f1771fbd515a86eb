"""What the first page says of every run, and of all of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.comparison.statistics import MIN_PATIENTS, compare
from revoxel.sagnef.comparison.tables import PlainTable
from revoxel.sagnef.report.scores import FUSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from revoxel.sagnef.report.runs import Run
    from revoxel.sagnef.report.scores import RunScores

ABSENT = "-"
#: How a reader calls the rows.
ROW_TITLES = {Baseline.ORACLE_VOLUME.value: "oracle: best of each volume"}


@dataclass(frozen=True)
class Summary:
    """One run in a line.

    Args:
        run: Which.
        anchor: Of its section in the page.
        thumbnail: A slice of the result, as an address.
        scores: Against the truth, if there is one.
        disagreement: Of the experts, share of the range.
        n_warnings: Of the record and of the report.
    """

    run: Run
    anchor: str
    thumbnail: str
    scores: RunScores | None
    disagreement: float | None
    n_warnings: int

    @property
    def worth(self) -> float | None:
        """PSNR of the fused volume over the expert that is best on it; None without a truth."""
        return self.gain(Baseline.ORACLE_VOLUME)

    @property
    def badness(self) -> tuple[int, float]:
        """Larger is worse: loss against the best expert if the truth tells, else disagreement."""
        return (0, self.disagreement or 0.0) if self.worth is None else (1, -self.worth)

    def gain(self, row: str) -> float | None:
        """PSNR of the fused volume over a row, in dB; None without a truth or that row.

        Args:
            row: Which.
        """
        return self.scores.gain_db(row) if self.scores and row in self.scores.rows else None


def worst_first(summaries: Iterable[Summary]) -> list[Summary]:
    """Runs in the order in which a person should look at them.

    Args:
        summaries: Of all runs.
    """
    return sorted(summaries, key=lambda summary: summary.badness, reverse=True)


def row_names(summaries: Iterable[Summary]) -> list[str]:
    """Rows that any run was scored in, in order.

    Args:
        summaries: Of all runs.
    """
    return list(dict.fromkeys(row for summary in summaries if summary.scores for row in summary.scores.rows))


def methods_table(summaries: Sequence[Summary], *, seed: int = 0) -> PlainTable | None:
    """Every method over all runs with a truth, and what fusion gives over it.

    Args:
        summaries: Of all runs.
        seed: Of the bootstrap.

    Returns:
        The table, or None if no run has a truth.
    """
    scored = [summary for summary in summaries if summary.scores]
    if not scored:
        return None
    n_patients = len({summary.run.patient for summary in scored})
    columns = (
        "method",
        "PSNR dB",
        "SSIM",
        "RMSE %",
        "fused over it, dB",
        "95 % interval",
        "worst",
        "runs",
    )
    enough = (
        "95 % bootstrap intervals (BCa) of the mean over patients."
        if n_patients >= MIN_PATIENTS
        else f"Fewer than {MIN_PATIENTS} patients: no interval."
    )
    note = (
        f"Means over {n_patients} patient(s), {len(scored)} run(s), all spacings and pulses together, in the "
        f"brain; the patient is the unit. {enough} Rows called oracle see the truth. Whether a "
        "gate was trained on these patients is not checked here: revoxel evaluate does."
    )
    rows = tuple(_method_row(name, scored, seed) for name in row_names(scored))
    return PlainTable("What fusion gives", columns, rows, note)


def _method_row(name: str, scored: Sequence[Summary], seed: int) -> tuple[str, ...]:
    having = [
        (summary, summary.scores) for summary in scored if summary.scores and name in summary.scores.rows
    ]
    values = [(summary.run.patient, scores.rows[name]) for summary, scores in having]
    cells = (
        f"{_patient_mean((who, row.psnr_db) for who, row in values):.2f}",
        f"{_patient_mean((who, row.ssim) for who, row in values):.4f}",
        f"{_patient_mean((who, 100 * row.rmse / row.data_range) for who, row in values):.2f}",
    )
    gains = [(summary.run.patient, scores.gain_db(name)) for summary, scores in having]
    compared = (ABSENT,) * 3 if name == FUSED else _gain_cells(gains, seed)
    return (ROW_TITLES.get(name, name), *cells, *compared, str(len(having)))


def _gain_cells(gains: Sequence[tuple[str, float]], seed: int) -> tuple[str, ...]:
    comparison = compare(_by_patient(gains), seed=seed)
    interval = comparison.interval_db
    shown = (
        f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else f"none, n = {len(comparison.gains_db)}"
    )
    return f"{comparison.mean_db:+.2f}", shown, f"{min(gain for _, gain in gains):+.2f}"


def _by_patient(values: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    parts: dict[str, list[float]] = defaultdict(list)
    for patient, value in values:
        parts[patient].append(value)
    return parts


def _patient_mean(values: Iterable[tuple[str, float]]) -> float:
    return fmean(fmean(part) for part in _by_patient(values).values())
