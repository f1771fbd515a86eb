"""A look at a study: fine and coarse volumes side by side, one row per scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from revoxel.core.volumes import RESEARCH_USE, atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.ct.scans.study import CtStudy

_MOST_ROWS = 8
_DISPLAY_HU = (-1000.0, 400.0)
_DPI = 100


def save_study_picture(study: CtStudy, path: Path) -> Path:
    """Draw the middle planes of the first scans.

    Args:
        study: With its folder.
        path: Target, `.png`; replaced.

    Returns:
        The path.

    Raises:
        OSError: If a volume cannot be read or the picture not be written.
    """
    rows = study.rows[:_MOST_ROWS]
    figure = Figure(figsize=(9.2, 2.4 * len(rows) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        shown = [*_middle_planes(study.resolve(row.fine)), *_middle_planes(study.resolve(row.coarse))]
        spacings_mm = [row.spacing_mm] * 2 + [row.spacing_mm * study.factor] * 2
        for axis, plane, spacing_mm in zip(line, shown, spacings_mm, strict=True):
            low, high = _DISPLAY_HU
            axis.imshow(plane.T, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axis.set_xlabel(f"{plane.shape[0]} x {plane.shape[1]} at {spacing_mm:g} mm", fontsize=7)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(f"{row.name} ({row.patient_id})", fontsize=8)
    for axis, title in zip(
        axes[0], ("fine, axial", "fine, coronal", "coarse, axial", "coarse, coronal"), strict=True
    ):
        axis.set_title(title, fontsize=9)
    figure.supxlabel(
        f"{_DISPLAY_HU[0]:g} to {_DISPLAY_HU[1]:g} HU; the patient's right on the right; {RESEARCH_USE}",
        fontsize=7,
    )
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")
    return path


def _middle_planes(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Axial and coronal plane of a volume in RAS."""
    volume = np.asarray(nibabel.load(path).dataobj)
    return volume[:, :, volume.shape[2] // 2], volume[:, volume.shape[1] // 2]
