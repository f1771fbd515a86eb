"""Pictures and tables: orthogonal slices of several volumes side by side, and tables for the console.

Colours stay apart for colour-blind readers (Okabe and Ito, 2008); errors use a diverging map.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from nibabel.orientations import io_orientation
from rich.table import Table

from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid

#: Categorical colours, black left out because the background is black.
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")
_PLANES = ("sagittal", "coronal", "axial")
_DPI = 110


class PanelKind(StrEnum):
    """How a volume is drawn."""

    GREY = "grey"
    ERROR = "error"
    WEIGHTS = "weights"


@dataclass(frozen=True, eq=False)
class Panel:
    """One column of a figure.

    Args:
        title: Column title.
        data: `(i, j, k)` on the figure's grid; `(label, i, j, k)` of shares that sum to 1 for weights.
        kind: How to draw it.
        labels: Names of the shares, for weights.
    """

    title: str
    data: NDArray[np.float32]
    kind: PanelKind = PanelKind.GREY
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SliceFigure:
    """A figure of orthogonal slices: one column per panel, one row per plane, all on one grid.

    Args:
        panels: Columns, left to right.
        grid: Grid of every panel.
        title: Line above the figure.
        caption: Small line below it.
        centre: Voxel through which the slices go; by default the middle of the first panel's bright voxels.
        greys: Values that are black and white; by default percentiles of the last grey panel.
        error_limit: Value with the strongest colour of error panels; by default a percentile of each.
    """

    panels: Sequence[Panel]
    grid: Grid
    title: str = ""
    caption: str = ""
    centre: tuple[int, int, int] | None = None
    greys: tuple[float, float] | None = None
    error_limit: float | None = None


def save_figure(content: SliceFigure, path: Path, *, overwrite: bool = False) -> Path:
    """Draw the figure and write it as PNG.

    Args:
        content: What to draw.
        path: Target, `.png`.
        overwrite: Whether an existing picture may be replaced.

    Returns:
        The path.

    Raises:
        ValueError: If a panel is not on the figure's grid.
        FileExistsError: If the picture exists and `overwrite` is false.
    """
    figure = draw(content)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")
    return path


def draw(content: SliceFigure) -> Figure:
    """Draw the figure without a display.

    Args:
        content: What to draw.

    Raises:
        ValueError: If a panel is not on the figure's grid.
    """
    _check_panels(content)
    n_columns = len(content.panels)
    figure = Figure(figsize=(2.3 * n_columns, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(_PLANES), n_columns, squeeze=False)
    centre = content.centre or bright_centre(content.panels[0].data)
    greys = content.greys or _grey_limits(content.panels)
    for column, panel in enumerate(content.panels):
        limits = _error_limits(panel, content) if panel.kind is PanelKind.ERROR else greys
        _draw_panel(axes[:, column], panel, content.grid, centre, limits)
    if content.title:
        figure.suptitle(content.title, fontsize=11)
    if content.caption:
        figure.supxlabel(content.caption, fontsize=7)
    return figure


def bright_centre(data: NDArray[np.float32]) -> tuple[int, int, int]:
    """Middle of the voxels brighter than the volume's mean, where there is something to see.

    Args:
        data: `(i, j, k)`.
    """
    i, j, k = (
        int(np.median(axis)) if len(axis) else n // 2
        for axis, n in zip(np.nonzero(data > data.mean()), data.shape, strict=True)
    )
    return i, j, k


def _check_panels(content: SliceFigure) -> None:
    for panel in content.panels:
        if panel.data.shape[-3:] != content.grid.shape:
            msg = (
                f"panel {panel.title!r} must have the figure's grid {content.grid.shape}, got "
                f"{panel.data.shape[-3:]}; resample it first."
            )
            raise ValueError(msg)


def _grey_limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """One grey window for all panels, so that brightness can be compared: from the last one."""
    greys = [panel for panel in panels if panel.kind is PanelKind.GREY]
    if not greys:
        return 0.0, 1.0
    low, high = np.percentile(greys[-1].data, (1, 99.7))
    return float(low), float(high) if high > low else float(low) + 1.0


def _draw_panel(
    axes: NDArray[Any], panel: Panel, grid: Grid, centre: tuple[int, int, int], limits: tuple[float, float]
) -> None:
    planes = _world_planes(panel.data, grid, centre)
    for axis, plane, (pixels, aspect) in zip(axes, _PLANES, planes, strict=True):
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(plane, fontsize=6)
        _draw_plane(axis, pixels, panel, limits).set_aspect(aspect)
    axes[0].set_title(panel.title, fontsize=9)
    if panel.kind is PanelKind.WEIGHTS:
        _add_legend(axes[-1], panel.labels)
    if panel.kind is PanelKind.ERROR:
        axes[-1].set_xlabel(f"axial, scale +-{limits[1]:.3g}", fontsize=6)


def _draw_plane(axis: Axes, pixels: NDArray[np.float32], panel: Panel, limits: tuple[float, float]) -> Axes:
    if panel.kind is PanelKind.WEIGHTS:
        axis.imshow(_blend(pixels), origin="lower", interpolation="nearest")
    else:
        colours = "PuOr" if panel.kind is PanelKind.ERROR else "gray"
        low, high = limits
        axis.imshow(pixels.T, origin="lower", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    return axis


def _error_limits(panel: Panel, content: SliceFigure) -> tuple[float, float]:
    limit = content.error_limit or float(np.percentile(np.abs(panel.data), 99.5)) or 1.0
    return -limit, limit


def _blend(shares: NDArray[np.float32]) -> NDArray[np.float64]:
    """Colours mixed in the proportion of the shares, `(label, a, b)` to `(b, a, rgb)`."""
    palette = np.array([to_rgb(colour) for colour in OKABE_ITO[: len(shares)]])
    return np.clip(np.einsum("lab,lc->bac", shares, palette), 0.0, 1.0)


def _add_legend(axis: Axes, labels: Sequence[str]) -> None:
    handles = [Patch(color=colour, label=label) for colour, label in zip(OKABE_ITO, labels, strict=False)]
    axis.legend(
        handles=handles, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False
    )


def _world_planes(
    data: NDArray[np.float32], grid: Grid, centre: tuple[int, int, int]
) -> list[tuple[NDArray[np.float32], float]]:
    """Sagittal, coronal and axial plane through a voxel, left, posterior and inferior first, with aspects."""
    orientation = io_orientation(grid.affine)
    voxel_axes = [int(np.flatnonzero(orientation[:, 0] == world)[0]) for world in range(3)]
    planes = []
    for normal in range(3):
        first, second = (world for world in range(3) if world != normal)
        pixels = np.take(data, centre[voxel_axes[normal]], axis=voxel_axes[normal] - 3)
        if voxel_axes[first] > voxel_axes[second]:
            pixels = np.swapaxes(pixels, -2, -1)
        for position, world in ((-2, first), (-1, second)):
            if orientation[voxel_axes[world], 1] < 0:
                pixels = np.flip(pixels, axis=position)
        aspect = grid.spacing_mm[voxel_axes[second]] / grid.spacing_mm[voxel_axes[first]]
        planes.append((pixels, aspect))
    return planes


def number_table(
    title: str, rows: Mapping[str, Mapping[str, float | str]], *, digits: int = 3, first_column: str = ""
) -> Table:
    """Table for the console: one row per name, numbers right-aligned.

    Args:
        title: Title line.
        rows: Row name to `{column: value}`; columns in the order of the first row.
        digits: Digits after the point.
        first_column: Heading of the names.
    """
    columns = list(next(iter(rows.values()), {}))
    table = Table(title=title, title_justify="left")
    table.add_column(first_column, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows.items():
        table.add_row(name, *(_cell(values.get(column, ""), digits) for column in columns))
    return table


def fact_table(title: str, facts: Mapping[str, str]) -> Table:
    """Two columns without a head: what, and its value.

    Args:
        title: Title line.
        facts: Lines of the table.
    """
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _cell(value: float | str, digits: int) -> str:
    return value if isinstance(value, str) else f"{value:.{digits}f}"
