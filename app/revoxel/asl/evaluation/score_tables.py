"""Comparisons as tables: metrics by method, a long list of every statistic, and what the console shows."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.evaluation.baselines import BLURRED_FIT, FIT
from revoxel.asl.evaluation.comparison import Comparison, Scenario, separation
from revoxel.asl.evaluation.regions import Region, Target
from revoxel.asl.evaluation.scores import Interval
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from revoxel.asl.evaluation.scores import Scores

    Rows = dict[str, dict[str, str]]

_COVERAGES = ("coverage68", "coverage95")
_COLUMNS = ("snr60", "constants", "method", "map", "region", "statistic", "value", "low", "high")


def metrics(comparisons: Sequence[Comparison]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores over the whole brain with right constants, by noise level and method.

    Args:
        comparisons: Of a plan.

    Returns:
        `{snr: {method: {cbf_mae, att_mae, cbf_bias, att_bias, win_cbf, win_att, coverage68, coverage95,
        valid_fraction, ...}}}`; wins are against the fit; coverage is over both maps together.
    """
    matched = [item for item in comparisons if item.scenario == Scenario.MATCHED]
    return {
        f"{item.snr:g}": {method: _metrics(item, method) for method in item.scores.methods}
        for item in matched
    }


def _metrics(item: Comparison, method: str) -> dict[str, float]:
    scores = item.scores
    brain = scores.regions.index(Region.BRAIN)
    found: dict[str, float] = {}
    by_target = {target: scores.statistics(method, target) for target in Target}
    for target, values in by_target.items():
        names = ("mae", "rmse", "bias", "slope", "r2", "rmse_over_crb", *_COVERAGES, "error_sd_spearman")
        found |= {f"{target}_{name}": float(values[name][brain]) for name in names if name in values}
        found |= {
            f"win_{target}{ending}": float(values[f"win_{reference}"][brain])
            for reference, ending in ((FIT, ""), (BLURRED_FIT, "_over_blurred_fit"))
            if f"win_{reference}" in values
        }
    for name in _COVERAGES:
        if all(name in values for values in by_target.values()):
            found[name] = float(np.mean([values[name][brain] for values in by_target.values()]))
    found["valid_fraction"] = float(by_target[Target.CBF]["valid_fraction"][brain])
    found["grey_over_white"] = scores.grey_over_white(method)
    told = item.lesions_told(method)
    return found | {f"lesion_auroc_{name}": value for name, value in told.items()}


def write_table(path: Path, comparisons: Sequence[Comparison], *, overwrite: bool = False) -> Path:
    """Write every statistic of every region with its interval, one per line.

    Args:
        path: CSV file.
        comparisons: Of a plan.
        overwrite: Replace a file that exists.

    Returns:
        `path`.

    Raises:
        FileExistsError: If it exists and may not be replaced.
        OSError: If it cannot be written.
    """
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for item in comparisons:
            writer.writerows(_lines(item))
    return path


def _lines(item: Comparison) -> Iterator[tuple[Any, ...]]:
    for method in item.scores.methods:
        for target in Target:
            for region in item.scores.regions:
                for name, found in item.scores.intervals(method, target, region).items():
                    numbers = [f"{number:.6g}" for number in found]
                    yield f"{item.snr:g}", item.scenario, method, target, region, name, *numbers


def accuracy_rows(item: Comparison) -> Rows:
    """What the console shows of one noise level.

    Args:
        item: The comparison.

    Returns:
        One row per statistic, one column per method.
    """
    columns = {method: _accuracy(item.scores, method) for method in item.scores.methods}
    names = next(iter(columns.values()))
    return {name: {method: column[name] for method, column in columns.items()} for name in names}


def _accuracy(scores: Scores, method: str) -> dict[str, str]:
    cbf, att = (scores.intervals(method, target) for target in Target)
    return {
        "CBF MAE, ml/100g/min": _spread(cbf["mae"], 2),
        "ATT MAE, ms": _spread(att["mae"], 1),
        "CBF bias": _spread(cbf["bias"], 2, signed=True),
        "ATT bias": _spread(att["bias"], 1, signed=True),
        "slope, CBF / ATT": f"{cbf['slope'].value:.3f} / {att['slope'].value:.3f}",
        "wins over the fit": _pair(cbf, att, f"win_{FIT}"),
        "wins over the blurred fit": _pair(cbf, att, f"win_{BLURRED_FIT}"),
        "truth within 1 sd": _pair(cbf, att, "coverage68"),
        "truth within 1.96 sd": _pair(cbf, att, "coverage95"),
        "voxels answered": f"{100 * cbf['valid_fraction'].value:.1f} %",
        "CBF, grey / white matter": f"{scores.grey_over_white(method):.2f}",
    }


def region_rows(item: Comparison, method: str) -> Rows:
    """What the console shows of one method, region by region.

    Args:
        item: The comparison.
        method: Name.

    Returns:
        Columns by region.
    """
    rows: Rows = {}
    for at, region in enumerate(item.scores.regions):
        cbf, att = (item.scores.statistics(method, target) for target in Target)
        if not cbf["n"][at]:
            continue
        rows[region] = {
            f"{title} {name}": f"{values[key][at]:.{digits}f}"
            for title, values, digits in (("CBF", cbf, 2), ("ATT", att, 1))
            for name, key in (("MAE", "mae"), ("bias", "bias"), ("/ bound", "rmse_over_crb"))
        }
        rows[region]["share"] = f"{100 * cbf['n'][at] / cbf['n'][0]:.0f} %"
    return rows


def mismatch_rows(comparisons: Sequence[Comparison], method: str) -> Rows:
    """What the console shows of a method on scans with other constants than it was told.

    Args:
        comparisons: Of a plan with such scans.
        method: Name.

    Returns:
        Columns by scenario; none without such scans.
    """
    wrong = [item for item in comparisons if item.scenario != Scenario.MATCHED]
    if not wrong:
        return {}
    right = next(c for c in comparisons if c.scenario == Scenario.MATCHED and c.snr == wrong[0].snr)
    rows: Rows = {}
    at = right.scores.regions.index(Region.BRAIN)
    for item in (right, *wrong):
        cbf, att = (item.scores.statistics(method, target) for target in Target)
        rows[item.scenario] = {
            "CBF MAE": f"{cbf['mae'][at]:.2f}",
            "CBF bias": f"{cbf['bias'][at]:+.2f}",
            "ATT MAE": f"{att['mae'][at]:.1f}",
            "ATT bias": f"{att['bias'][at]:+.1f}",
            "AUROC": "" if item is right else _told(separation(item, right, method)),
        }
    return rows


def pairing_rows(item: Comparison) -> Rows:
    """The fit's errors under right and wrong pairings.

    Args:
        item: The comparison.

    Returns:
        Columns by pairing.
    """
    cbf, att = item.pairing[Target.CBF], item.pairing[Target.ATT]
    return {
        name: {
            "CBF MAE": f"{cbf[name]['mae']:.2f}",
            "CBF R2": f"{cbf[name]['r2']:.2f}",
            "ATT MAE": f"{att[name]['mae']:.1f}",
            "ATT R2": f"{att[name]['r2']:.2f}",
        }
        for name in cbf
    }


def _told(areas: dict[str, float]) -> str:
    """Of chi-square, then of the stated deviation of CBF."""
    return "/".join(f"{areas[name]:.2f}" for name in ("chi2", "cbf_sd") if name in areas)


def _spread(found: Interval, digits: int, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    value, low, high = (f"{number:{sign}.{digits}f}" for number in found)
    return f"{value} [{low}, {high}]"


def _pair(cbf: dict[str, Interval], att: dict[str, Interval], name: str) -> str:
    if name not in cbf or name not in att:
        return "-"
    return f"{100 * cbf[name].value:.1f} / {100 * att[name].value:.1f} %"
