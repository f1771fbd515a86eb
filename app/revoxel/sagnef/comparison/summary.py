"""From the scores of cases to the numbers of the tables."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from revoxel.experts.names import Expert
from revoxel.sagnef.baselines import ORACLES, Baseline
from revoxel.sagnef.comparison.rows import FusionRow
from revoxel.sagnef.comparison.statistics import Comparison, compare
from revoxel.sagnef.regions import RegionName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from revoxel.sagnef.comparison.results import CaseResult, RowScores

#: Rows in the order of the tables.
ROW_ORDER: tuple[str, ...] = (
    *(expert.value for expert in Expert),
    Baseline.MEAN,
    Baseline.MEDIAN,
    Baseline.BEST,
    Baseline.SIMPLEX,
    FusionRow.TILES,
    FusionRow.CAUTIOUS,
    FusionRow.CAUTIOUS_CONSISTENT,
    FusionRow.BEST_CONSISTENT,
    FusionRow.CONTROL,
    FusionRow.STRICT,
    FusionRow.RESIDUAL,
    FusionRow.CONSISTENT,
    FusionRow.SUPERRESOLVE,
    *ORACLES,
)
#: Rows whose gain over the best expert is the claim of the method.
CLAIMED = (FusionRow.STRICT, FusionRow.RESIDUAL, FusionRow.CONSISTENT, FusionRow.SUPERRESOLVE)
_TINY = 1e-12


@dataclass(frozen=True)
class RowSummary:
    """One row of a table: means over patients.

    Attributes:
        psnr_db: PSNR.
        ssim: SSIM.
        rmse_percent: RMSE in percent of the range.
        gain_db: PSNR over the best expert.
        worst_gain_db: Least gain of any case.
        gap_shares: Share of the squared error between best expert and oracle that the row removes, by oracle;
            None where the oracle is no better than the best expert.
        n_cases: Cases with this row.
    """

    psnr_db: float
    ssim: float
    rmse_percent: float
    gain_db: float
    worst_gain_db: float
    gap_shares: dict[str, float | None]
    n_cases: int


@dataclass(frozen=True)
class Block:
    """One table: a spacing, pulse, condition and region.

    Attributes:
        spacing: Of the cases.
        pulse: Of the cases.
        condition: Of the cases.
        region: Where the scores were taken.
        descriptions: What the region and its range are.
        best_experts: Chosen on training, one per fold.
        patients: Whose cases.
        rows: Summary by row.
    """

    spacing: str
    pulse: str
    condition: str
    region: str
    descriptions: tuple[str, ...]
    best_experts: tuple[str, ...]
    patients: tuple[str, ...]
    rows: dict[str, RowSummary]

    @property
    def title(self) -> str:
        """Heading of the table."""
        return f"{self.spacing} {self.pulse}, {self.condition or 'no condition'}, {self.region}"


def blocks(results: Sequence[CaseResult]) -> list[Block]:
    """All tables.

    Args:
        results: Evaluated cases.
    """
    groups: dict[tuple[str, str, str], list[CaseResult]] = defaultdict(list)
    for result in results:
        groups[(result.spacing, result.pulse, result.condition)].append(result)
    return [
        _block(key, region, [case for case in cases if region in case.regions])
        for region in (RegionName.BRAIN, RegionName.TUMOUR, RegionName.FULL)
        for key, cases in groups.items()
        if any(region in case.regions for case in cases)
    ]


def _block(key: tuple[str, str, str], region: str, cases: Sequence[CaseResult]) -> Block:
    names = {name for case in cases for name in case.regions[region].rows}
    return Block(
        *key,
        region=region,
        descriptions=tuple(dict.fromkeys(case.regions[region].description for case in cases)),
        best_experts=tuple(dict.fromkeys(case.best_expert for case in cases)),
        patients=tuple(dict.fromkeys(case.patient for case in cases)),
        rows={name: _row(name, region, cases) for name in ROW_ORDER if name in names},
    )


def _row(name: str, region: str, cases: Sequence[CaseResult]) -> RowSummary:
    having = [case for case in cases if name in case.regions[region].rows]
    scores = [case.regions[region].rows[name] for case in having]
    gains = [gain_db(case, region, name) for case in having]
    return RowSummary(
        psnr_db=_patient_mean(having, [decibels(score) for score in scores]),
        ssim=_patient_mean(having, [score.ssim for score in scores]),
        rmse_percent=_patient_mean(having, [100 * score.rmse / score.data_range for score in scores]),
        gain_db=_patient_mean(having, gains),
        worst_gain_db=min(gains),
        gap_shares={oracle: gap_share(having, region, name, oracle) for oracle in ORACLES},
        n_cases=len(having),
    )


def _patient_mean(cases: Sequence[CaseResult], values: Sequence[float]) -> float:
    return fmean(fmean(part) for part in _by_patient(cases, values).values())


def _by_patient(cases: Iterable[CaseResult], values: Iterable[float]) -> dict[str, list[float]]:
    parts: dict[str, list[float]] = defaultdict(list)
    for case, value in zip(cases, values, strict=True):
        parts[case.patient].append(value)
    return dict(parts)


def decibels(score: RowScores) -> float:
    """PSNR; infinite for a perfect volume."""
    return math.inf if score.psnr_db is None else score.psnr_db


def gain_db(case: CaseResult, region: str, row: str, reference: str = Baseline.BEST) -> float:
    """PSNR of a row over that of another.

    Args:
        case: Evaluated case.
        region: Where.
        row: Which row.
        reference: Compared with which.
    """
    rows = case.regions[region].rows
    if rows[row].rmse == rows[reference].rmse:
        return 0.0
    return decibels(rows[row]) - decibels(rows[reference])


def gap_share(cases: Sequence[CaseResult], region: str, row: str, oracle: str) -> float | None:
    """Share of the squared error between best expert and an oracle that a row removes.

    Args:
        cases: Cases to sum over, each relative to its range.
        region: Where.
        row: Which row.
        oracle: Which bound.

    Returns:
        1 at the oracle, 0 at the best expert, negative below; None where there is no gap.
    """

    def error(name: str) -> float:
        scores = [case.regions[region].rows[name] for case in cases]
        return sum((score.rmse / score.data_range) ** 2 for score in scores)

    best, bound = error(Baseline.BEST), error(oracle)
    return None if best - bound <= _TINY * best else (best - error(row)) / (best - bound)


@dataclass(frozen=True)
class Claim:
    """What a row gives against the best expert under one condition, over all spacings and pulses.

    Attributes:
        row: The row.
        condition: The condition.
        comparison: Over patients.
        worst_db: Least gain of any case over the expert that training chose.
        worst_over_volume_best_db: Over the expert that is best on the case itself.
        worst_over_bspline_db: Over B-spline; None without that expert.
    """

    row: str
    condition: str
    comparison: Comparison
    worst_db: float
    worst_over_volume_best_db: float
    worst_over_bspline_db: float | None

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "comparison": self.comparison.record()}


def claims(results: Sequence[CaseResult], region: str, *, seed: int = 0) -> Iterator[Claim]:
    """Gains of the rows that the method stands for, patients as the unit.

    Args:
        results: Evaluated cases.
        region: Where.
        seed: Of the resampling.

    Yields:
        One claim per condition and row.
    """
    for condition in dict.fromkeys(result.condition for result in results):
        for row in CLAIMED:
            cases = [
                result
                for result in results
                if result.condition == condition and row in result.regions[region].rows
            ]
            if cases:
                yield _claim(row, condition, cases, region, seed)


def _claim(row: str, condition: str, cases: Sequence[CaseResult], region: str, seed: int) -> Claim:
    gains = [gain_db(case, region, row) for case in cases]
    with_bspline = [case for case in cases if Expert.BSPLINE in case.regions[region].rows]
    return Claim(
        row=row,
        condition=condition,
        comparison=compare(_by_patient(cases, gains), seed=seed),
        worst_db=min(gains),
        worst_over_volume_best_db=min(gain_db(case, region, row, Baseline.ORACLE_VOLUME) for case in cases),
        worst_over_bspline_db=min(
            (gain_db(case, region, row, Expert.BSPLINE) for case in with_bspline), default=None
        ),
    )
