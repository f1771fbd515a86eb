"""Picture of local Fourier ring correlation: which of the added frequencies are true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from revoxel.core.report import OKABE_ITO
from revoxel.ct.evaluation.ring_correlation import THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Curves that say nothing, or the same as another.
_NOT_SHOWN = {"constant", "network"}


def draw_frequencies(rings: Mapping[str, Mapping[str, Any] | None], title: str) -> Figure:
    """Draw mean correlation over frequency above the coarse Nyquist frequency, one line per row.

    Args:
        rings: By row, from `RingCorrelation.as_dict`.
        title: Name of the scan.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    shown = {name: curve for name, curve in rings.items() if curve and name not in _NOT_SHOWN}
    for (name, curve), colour in zip(shown.items(), OKABE_ITO, strict=False):
        label = f"{name}: 0.5 at {curve['cutoff_cycles_per_mm']:.3f}"
        axis.plot(curve["frequencies_cycles_per_mm"], curve["mean_correlation"], color=colour, label=label)
    axis.axhline(THRESHOLD, color="0.6", linewidth=0.8, linestyle="--")
    axis.set_ylim(-0.1, 1.0)
    axis.set_xlabel("cycles/mm, from the coarse Nyquist frequency on")
    axis.set_ylabel("Fourier ring correlation with the truth")
    axis.legend(fontsize=8, frameon=False, title="median cut-off of patches", title_fontsize=8)
    axis.set_title(title, fontsize=10)
    return figure
