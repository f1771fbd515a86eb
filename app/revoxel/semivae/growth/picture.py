"""One picture of a growth analysis: forecasts of some patients, and how the models compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from revoxel.core.report import OKABE_ITO
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from revoxel.semivae.growth.forecast import GrowthResult, PatientForecast

_MOST_PATIENTS = 8
_N_COLUMNS = 4
_DPI = 110
_MM3_PER_ML = 1000.0


def draw_growth(result: GrowthResult, path: Path) -> Path:
    """Draw the forecasts of up to eight patients above the scores of the models.

    Args:
        result: Of `forecast_growth`.
        path: PNG file.

    Returns:
        `path`.

    Raises:
        OSError: If it cannot be written.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(2, 1.1)).flat
    picked = _picked(result.forecasts)
    axes = above.subplots(-(-len(picked) // _N_COLUMNS), min(len(picked), _N_COLUMNS), squeeze=False)
    for axis in axes.flat[len(picked) :]:
        axis.set_axis_off()
    for axis, one in zip(axes.flat, picked, strict=False):
        _draw_patient(axis, one)
    axes[0, 0].set_ylabel("volume, ml")
    axes[0, 0].legend(fontsize=7, frameon=False)
    axes[-1, 0].set_xlabel("years")
    above.suptitle(
        f"Forecasts by {result.used}, {len(picked)} of {len(result.forecasts)} patients", fontsize=11
    )
    _draw_scores(below.subplots(1, 2), result)
    below.supxlabel(f"{result.verdict.sentence}. Research use, not for diagnosis.", fontsize=8)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")
    return path


def _picked(forecasts: list[PatientForecast]) -> list[PatientForecast]:
    """Patients from slow to fast growth, evenly spaced."""
    order = sorted(forecasts, key=lambda one: one.log_volume[-1] - one.record.log_volumes[-1])
    places = np.linspace(0, len(order) - 1, min(len(order), _MOST_PATIENTS)).round().astype(int)
    return [order[place] for place in places]


def _draw_patient(axis: Axes, one: PatientForecast) -> None:
    record = one.record
    times = np.concatenate((record.times_years[-1:], one.times_years))
    ends = [
        np.exp(np.concatenate((record.log_volumes[-1:], end)))
        for end in (one.low95, one.log_volume, one.high95)
    ]
    low, middle, high = (end / _MM3_PER_ML for end in ends)
    axis.fill_between(times, low, high, color=OKABE_ITO[1], alpha=0.3, lw=0, label="95 % interval")
    axis.plot(times, middle, color=OKABE_ITO[5], label="forecast")
    axis.plot(
        record.times_years,
        np.exp(record.log_volumes) / _MM3_PER_ML,
        "o-",
        color=OKABE_ITO[6],
        ms=4,
        label="visits",
    )
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(LogFormatter())
    axis.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    axis.set_title(record.patient_id, fontsize=9)
    axis.tick_params(which="both", labelsize=7)


def _draw_scores(axes: list[Axes], result: GrowthResult) -> None:
    names = [model.value.replace("_", " ") for model in result.held_out]
    scores = [held.scores for held in result.held_out.values()]
    colours = [OKABE_ITO[5] if model is result.used else OKABE_ITO[1] for model in result.held_out]
    bars = axes[0].barh(names, [one.crps for one in scores], color=colours)
    axes[0].bar_label(bars, fmt="%.3f", fontsize=8, padding=2)
    axes[0].set_title("CRPS of the last log volume, patient left out (lower is better)", fontsize=9)
    bars = axes[1].barh(names, [100 * one.coverage for one in scores], color=colours)
    axes[1].bar_label(bars, fmt="%.0f %%", fontsize=8, padding=2)
    axes[1].axvline(95, color="0.3", lw=1, ls="--")
    axes[1].set_title("truths inside the 95 % interval", fontsize=9)
    axes[1].set_yticklabels([])
    for axis in axes:
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.tick_params(labelsize=8)
