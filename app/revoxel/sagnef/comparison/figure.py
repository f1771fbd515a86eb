"""One figure: gain over the best expert, every case a dot, every method a line, one panel per condition."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from revoxel.core.report import OKABE_ITO
from revoxel.core.volumes import RESEARCH_USE, atomic_path
from revoxel.sagnef.baselines import ORACLES, Baseline
from revoxel.sagnef.comparison.summary import CLAIMED, ROW_ORDER, gain_db

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from revoxel.sagnef.comparison.results import CaseResult

_MARKERS = "osD^vP*X<>hp"
# Experts that were misled lie decibels away and would squeeze what matters into one line.
_WIDEST_DB = 1.4
_LABEL_DB = 2.0
_DPI = 150
_COLOURS = (OKABE_ITO[2], OKABE_ITO[6], OKABE_ITO[5], OKABE_ITO[3], OKABE_ITO[0], OKABE_ITO[1])


def save_gains(results: Sequence[CaseResult], region: str, path: Path) -> Path:
    """Draw the gains and write them as PNG, replacing an older picture.

    Args:
        results: Evaluated cases, at least one.
        region: Where.
        path: Target, `.png`.

    Returns:
        The path.
    """
    figure = draw_gains(results, region)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")
    return path


def draw_gains(results: Sequence[CaseResult], region: str) -> Figure:
    """Draw the gains without a display.

    Args:
        results: Evaluated cases, at least one.
        region: Where.
    """
    conditions = list(dict.fromkeys(result.condition for result in results))
    rows = [name for name in ROW_ORDER if name != Baseline.BEST and _has(results, region, name)]
    patients = list(dict.fromkeys(result.patient for result in results))
    figure = Figure(figsize=(2.6 + 3.1 * len(conditions), 1.6 + 0.27 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(conditions), squeeze=False, sharey=True)[0]
    markers = {patient: _MARKERS[index % len(_MARKERS)] for index, patient in enumerate(patients)}
    for index, (panel, condition) in enumerate(zip(panels, conditions, strict=True)):
        cases = [result for result in results if result.condition == condition]
        _draw_panel(panel, cases, region, rows, markers, _COLOURS[index % len(_COLOURS)])
        panel.set_title(f"{condition or 'all cases'} ({len(cases)})", fontsize=10)
    _name_rows(panels[0], rows)
    _add_legend(figure, markers)
    figure.suptitle(f"PSNR over the best expert (chosen on training), {region}, dB", fontsize=11)
    figure.supxlabel(f"{_legend(results)}. {RESEARCH_USE}", fontsize=7)
    return figure


def _legend(results: Sequence[CaseResult]) -> str:
    seen = " (hollow: the gate knew the patient)" if any(result.seen for result in results) else ""
    return f"dot: one case{seen}; arrow: beyond the axis; bar, number: mean over cases; grey: sees the truth"


def _draw_panel(
    panel: Axes,
    cases: Sequence[CaseResult],
    region: str,
    rows: Sequence[str],
    markers: dict[str, str],
    colour: str,
) -> None:
    _decorate(panel, rows)
    for place, name in enumerate(rows):
        gains = [(case, gain_db(case, region, name)) for case in cases if name in case.regions[region].rows]
        if not gains:
            continue
        for case, gain in gains:
            _draw_case(panel, gain, place, markers[case.patient], colour, hollow=case.seen)
        mean = fmean(gain for _, gain in gains)
        if abs(mean) < _WIDEST_DB:
            panel.plot([mean] * 2, [place - 0.35, place + 0.35], color="black", lw=1.6, solid_capstyle="butt")
        panel.text(_LABEL_DB, place, f"{mean:+.2f}", ha="right", va="center", fontsize=7)


def _draw_case(panel: Axes, gain: float, place: int, marker: str, colour: str, *, hollow: bool) -> None:
    """A dot, or an arrow at the rim for a case that lies beyond."""
    beyond = abs(gain) > _WIDEST_DB
    shown = min(max(gain, -_WIDEST_DB), _WIDEST_DB)
    shape = ("<" if gain < 0 else ">") if beyond else marker
    face = "none" if hollow else colour
    panel.plot(shown, place, shape, color=colour, mfc=face, ms=6 if beyond else 5, alpha=0.8, lw=0)


def _decorate(panel: Axes, rows: Sequence[str]) -> None:
    panel.axvline(0, color="black", lw=0.8)
    panel.set_xlim(-1.08 * _WIDEST_DB, 1.05 * _LABEL_DB)
    panel.set_xticks([-1, -0.5, 0, 0.5, 1])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.tick_params(labelsize=8)
    panel.grid(axis="x", lw=0.4, alpha=0.6)
    panel.set_axisbelow(True)
    for place, name in enumerate(rows):
        if name in ORACLES:
            panel.axhspan(place - 0.5, place + 0.5, color="#e8e8e8", zorder=0)
        elif name in CLAIMED:
            panel.axhspan(place - 0.5, place + 0.5, color="#fdf3d8", zorder=0)


def _name_rows(panel: Axes, rows: Sequence[str]) -> None:
    panel.set_yticks(range(len(rows)), rows)
    for label, name in zip(panel.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if name in CLAIMED else "normal")


def _add_legend(figure: Figure, markers: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    by_marker: dict[str, list[str]] = defaultdict(list)
    for patient, marker in markers.items():
        by_marker[marker].append(patient)
    handles = [
        Line2D([], [], marker=marker, color="black", lw=0, ms=5, label=", ".join(patients))
        for marker, patients in by_marker.items()
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=7, title="patient", title_fontsize=7)


def _has(results: Sequence[CaseResult], region: str, name: str) -> bool:
    return any(name in result.regions[region].rows for result in results)
