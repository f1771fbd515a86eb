"""The first scans of a synthetic cohort: four pulses and their labels, a row per visit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from revoxel.core.pulses import Pulse
from revoxel.core.report import OKABE_ITO
from revoxel.core.volumes import atomic_path, read_volume
from revoxel.semivae.simulation.lesion import ED, ET, NCR

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from revoxel.semivae.study import TumourScan, TumourStudy

_DPI = 80
_MOST_ROWS = 5
_NAMES: Final = {NCR: "necrosis", ED: "oedema", ET: "enhancing"}
_COLOURS = {NCR: OKABE_ITO[5], ED: OKABE_ITO[2], ET: OKABE_ITO[0]}
_TEXT: Final[dict[str, Any]] = {"color": "white", "fontsize": 7, "va": "top"}
_PULSE_NAMES = {Pulse.t1c: "T1 with contrast", Pulse.t1n: "T1", Pulse.t2f: "FLAIR", Pulse.t2w: "T2"}


def save_picture(study: TumourStudy, path: Path) -> Path:
    """Draw the first scans of a cohort and write a PNG.

    Args:
        study: With four pulses per scan.
        path: Target; replaced.

    Returns:
        `path`.

    Raises:
        OSError: If a file cannot be read or the picture cannot be written.
    """
    scans = study.scans[:_MOST_ROWS]
    figure = Figure(figsize=(9.4, 2.25 * len(scans) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(scans), len(Pulse) + 1, squeeze=False)
    for axes, scan in zip(rows, scans, strict=True):
        _draw_scan(axes, study, scan)
    for at, name in enumerate((*_PULSE_NAMES.values(), "labels")):
        rows[0, at].set_title(name, fontsize=9)
    handles = [Patch(color=_COLOURS[label], label=name) for label, name in _NAMES.items()]
    figure.legend(handles=handles, loc="outside lower right", ncols=3, fontsize=8, frameon=False)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")
    return path


def _draw_scan(axes: NDArray[Any], study: TumourStudy, scan: TumourScan) -> None:
    label = read_volume(study.resolve(scan.label))
    depth = int(np.argmax((label.data > 0).sum(axis=(0, 1))))
    for at, pulse in enumerate(Pulse):
        _show(axes[at], read_volume(study.resolve(scan.images[pulse])).data[:, :, depth])
    _show(axes[-1], read_volume(study.resolve(scan.images[Pulse.t1n])).data[:, :, depth])
    overlay = np.zeros((*label.data.shape[:2], 4))
    for value, colour in _COLOURS.items():
        overlay[label.data[:, :, depth] == value] = to_rgba(colour, 0.8)
    axes[-1].imshow(overlay.transpose(1, 0, 2), origin="lower", interpolation="nearest")
    millilitres = float((label.data > 0).sum()) * float(np.prod(label.grid.spacing_mm)) / 1000
    when = f"{scan.time_years:.1f} years" if scan.time_years else scan.patient_id
    axes[0].text(0.02, 0.98, f"{when}\n{millilitres:.1f} ml", transform=axes[0].transAxes, **_TEXT)


def _show(axes: Axes, values: NDArray[np.float32]) -> None:
    """One axial slice as seen in RAS: right on the right, front on top."""
    white = float(np.percentile(values[values > 0], 99.7))
    axes.imshow(values.T, cmap="gray", origin="lower", vmin=0, vmax=white)
    axes.set_axis_off()
