"""Distributions as inline drawings: one line per method, one dot per run, each dot a link to its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from revoxel.sagnef.report.scores import FUSED
from revoxel.sagnef.report.summaries import ROW_TITLES, row_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from revoxel.sagnef.report.summaries import Summary

_WIDTH, _LEFT, _RIGHT = 640.0, 150.0, 20.0
_LINE = 30.0
_JITTER = 7.0
# Fewer runs are seen best as they are.
_MIN_BOX = 5


@dataclass(frozen=True)
class Dot:
    """One run.

    Args:
        x: Place in the drawing.
        y: Place in the drawing.
        anchor: Section of the run.
        label: What it is and its value.
    """

    x: float
    y: float
    anchor: str
    label: str


@dataclass(frozen=True)
class Line:
    """One method.

    Args:
        label: Its name.
        y: Place in the drawing.
        dots: One per run.
        box: First quartile, median and third quartile, as places; empty for few runs.
    """

    label: str
    y: float
    dots: tuple[Dot, ...]
    box: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """One drawing.

    Args:
        title: Heading.
        description: What it shows, in a sentence with numbers, for those who do not see it.
        lines: From top to bottom.
        ticks: Place and text of every tick.
        zero: Place of the value 0, if it is inside.
        unit: Of the axis.
    """

    title: str
    description: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float | None
    unit: str
    left: float = _LEFT
    width: float = _WIDTH

    @property
    def bottom(self) -> float:
        """Where the axis lies."""
        return _LINE * (len(self.lines) + 0.5)


def charts_of(summaries: Sequence[Summary]) -> list[Chart]:
    """All drawings of the first page.

    Args:
        summaries: Of all runs.
    """
    gains = {
        ROW_TITLES.get(row, row).removeprefix("oracle: "): [(s, s.gain(row)) for s in summaries]
        for row in row_names(summaries)
        if row != FUSED
    }
    weights = {
        name: [(s, s.run.record.mean_weight.get(name)) for s in summaries]
        for name in dict.fromkeys(name for s in summaries for name in s.run.record.mean_weight)
    }
    apart = {"disagreement": [(s, s.disagreement and 100 * s.disagreement) for s in summaries]}
    drawn = (
        _chart("PSNR of the fused volume over", "dB; right of 0 fusion is better", gains),
        _chart("Mean weight of each expert", "share", weights),
        _chart("How far the experts lie apart", "% of the range, mean over the head", apart),
    )
    return [chart for chart in drawn if chart]


def _chart(title: str, unit: str, values: dict[str, list[tuple[Summary, float | None]]]) -> Chart | None:
    known = {name: [(s, v) for s, v in pairs if v is not None] for name, pairs in values.items()}
    known = {name: pairs for name, pairs in known.items() if pairs}
    if not known:
        return None
    ticks = _ticks([value for pairs in known.values() for _, value in pairs])

    def place(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    lines = []
    for number, (name, pairs) in enumerate(known.items()):
        y = _LINE * (number + 0.75)
        dots = tuple(
            Dot(place(v), y + _JITTER * (index % 3 - 1), s.anchor, f"{s.run.name}: {v:.3g}")
            for index, (s, v) in enumerate(pairs)
        )
        quartiles = np.percentile([v for _, v in pairs], (25, 50, 75)) if len(pairs) >= _MIN_BOX else ()
        lines.append(Line(name, y, dots, tuple(place(float(q)) for q in quartiles)))
    medians = "; ".join(f"{name} {np.median([v for _, v in pairs]):.3g}" for name, pairs in known.items())
    zero = place(0.0) if ticks[0] < 0 < ticks[-1] else None
    shown = tuple((place(tick), f"{tick:g}") for tick in ticks)
    return Chart(title, f"{title}, {unit}. Medians: {medians}.", tuple(lines), shown, zero, unit)


def _ticks(values: Sequence[float]) -> list[float]:
    finite = [value for value in values if np.isfinite(value)] or [0.0]
    low, high = min(*finite, 0.0), max(*finite, 0.0)
    return [float(tick) for tick in MaxNLocator(6).tick_values(low, high if high > low else low + 1)]
