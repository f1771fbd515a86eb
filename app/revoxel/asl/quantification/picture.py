"""One picture of a perfusion scan: axial slices of every map, with units, in colours for every eye."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from nibabel.orientations import apply_orientation, io_orientation

from revoxel.asl.quantification.outputs import UNITS
from revoxel.core.volumes import RESEARCH_USE

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from revoxel.asl.quantification.estimation import Estimate
    from revoxel.core.geometry import Grid

_DPI = 110
_WIDTH = 3.4
_MAX_SLICES = 9
_COLUMNS = 3


@dataclass(frozen=True, eq=False)
class _Panel:
    title: str
    data: NDArray[np.float32]
    colours: str
    unit: str
    limits: tuple[float, float]


def draw_maps(
    estimate: Estimate, m0: NDArray[np.float32], mask: NDArray[np.bool_], grid: Grid, title: str
) -> Figure:
    """Draw CBF, ATT, their standard deviations, hits of the bounds, and M0 with the outline of the mask.

    Args:
        estimate: Of the scan.
        m0: `(i, j, k)`.
        mask: `(i, j, k)`.
        grid: Of all of them.
        title: Line above the figure.

    Returns:
        The figure.
    """
    panels = [*_map_panels(estimate, mask), _m0_panel(m0, mask)]
    n_columns = ceil(len(panels) / 2)
    slices = _slices(_upright(mask.astype(np.float32), grid))
    outline = _mosaic(_upright(mask.astype(np.float32), grid), slices, fill=0.0)
    right, up, _ = _spacing_mm(grid)
    height = _WIDTH * (up * outline.shape[0]) / (right * outline.shape[1])
    figure = Figure(figsize=((_WIDTH + 1.2) * n_columns, 2 * (height + 0.5) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, n_columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, panel in zip(axes.T.flat, panels, strict=False):
        _draw(figure, axis, panel, grid, slices)
    axes.T.flat[len(panels) - 1].contour(outline, levels=[0.5], colors="#E69F00", linewidths=0.8)
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(f"axial slices, left of the head on the left; {RESEARCH_USE}", fontsize=7)
    return figure


def save_picture(figure: Figure, target: Path) -> None:
    """Write a figure as PNG.

    Args:
        figure: From `draw_maps`.
        target: File.
    """
    figure.savefig(target, dpi=_DPI, format="png", facecolor="white")


def _map_panels(estimate: Estimate, mask: NDArray[np.bool_]) -> list[_Panel]:
    maps = estimate.maps
    told = (
        ("CBF", maps.cbf, "magma", UNITS["cbf"]),
        ("CBF, standard deviation", maps.cbf_sd, "cividis", UNITS["cbf"]),
        ("ATT", maps.att, "viridis", UNITS["att"]),
        ("ATT, standard deviation", maps.att_sd, "cividis", UNITS["att"]),
    )
    panels = [
        _Panel(title, np.where(mask, data, np.nan), colours, unit, (0.0, _top(data, mask)))
        for title, data, colours, unit in told
        if data is not None
    ]
    if maps.att is not None:
        bounds = np.where(mask, estimate.at_bound, np.nan)
        panels.append(_Panel("at a bound of the fit", bounds, "gray", "1 = yes", (0.0, 1.0)))
    return panels


def _m0_panel(m0: NDArray[np.float32], mask: NDArray[np.bool_]) -> _Panel:
    return _Panel("M0 and mask", np.nan_to_num(m0), "gray", "units of the file", (0.0, _top(m0, mask)))


def _top(data: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    return float(np.percentile(np.nan_to_num(data[mask]), 98)) or 1.0


def _draw(figure: Figure, axis: Axes, panel: _Panel, grid: Grid, slices: NDArray[np.intp]) -> None:
    low, high = panel.limits
    right, up, _ = _spacing_mm(grid)
    image = axis.imshow(
        _mosaic(_upright(panel.data, grid), slices),
        cmap=panel.colours,
        vmin=low,
        vmax=high,
        origin="lower",
        interpolation="nearest",
        aspect=up / right,
    )
    axis.set_title(panel.title, fontsize=10)
    figure.colorbar(image, ax=axis, shrink=0.8, label=panel.unit)


def _orientation(grid: Grid) -> NDArray[np.float64]:
    return np.asarray(io_orientation(grid.affine))


def _upright(data: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Axes right, anterior, superior; mirrored so that left is on the left."""
    return np.asarray(apply_orientation(data, _orientation(grid)), dtype=np.float32)


def _spacing_mm(grid: Grid) -> tuple[float, float, float]:
    axes = _orientation(grid)[:, 0].astype(int)
    spacing = np.empty(3)
    spacing[axes] = grid.spacing_mm
    right, up, through = map(float, spacing)
    return right, up, through


def _slices(mask: NDArray[np.float32]) -> NDArray[np.intp]:
    """Up to nine slices, evenly through the brain."""
    inside = np.flatnonzero(mask.any(axis=(0, 1)))
    count = min(_MAX_SLICES, len(inside))
    return inside[np.unique(np.linspace(0, len(inside) - 1, count).round().astype(int))]


def _mosaic(data: NDArray[np.float32], slices: NDArray[np.intp], fill: float = np.nan) -> NDArray[np.float32]:
    """Slices side by side, lowest at the bottom left: `(row, column)`."""
    n_columns = min(_COLUMNS, len(slices))
    n_rows = ceil(len(slices) / n_columns)
    width, height = data.shape[:2]
    canvas = np.full((n_rows * height, n_columns * width), fill, dtype=np.float32)
    for place, index in enumerate(slices):
        row, column = divmod(place, n_columns)
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = data[..., index].T
    return canvas
