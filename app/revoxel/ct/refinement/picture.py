"""One picture of CTs on one grid: three planes, one stated grey window, differences in colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.report import Panel, PanelKind, SliceFigure, draw
from revoxel.core.volumes import RESEARCH_USE
from revoxel.ct.hounsfield import PADDING_HU

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid

#: Lung to bone; stated in every caption.
GREYS_HU = (-1000.0, 500.0)
DIFFERENCE_HU = 300.0
_DPI = 130
_WIDTH = 3.0
_BODY_HU = -300.0


@dataclass(frozen=True, eq=False)
class CtPicture:
    """What to draw.

    Args:
        volumes: By column title, `(x, y, z)` in HU on `grid`, or a whole factor coarser.
        differences: By column title, `(x, y, z)` in HU on `grid`.
        grid: Of the fine volumes.
        title: Line above the picture.
    """

    volumes: Mapping[str, NDArray[Any]]
    differences: Mapping[str, NDArray[Any]]
    grid: Grid
    title: str


def draw_ct(picture: CtPicture) -> Figure:
    """Draw volumes side by side.

    Args:
        picture: What to draw.

    Returns:
        The figure.
    """
    volumes = {title: _on_grid(data, picture.grid) for title, data in picture.volumes.items()}
    panels = [Panel(title, data) for title, data in volumes.items()]
    panels += [
        Panel(title, np.asarray(data, dtype=np.float32), PanelKind.ERROR)
        for title, data in picture.differences.items()
    ]
    low, high = GREYS_HU
    figure = draw(
        SliceFigure(
            panels,
            picture.grid,
            title=picture.title,
            caption=f"black {low:g} HU, white {high:g} HU; left of the patient on the left, front of the "
            f"sagittal plane on the right; {RESEARCH_USE}",
            centre=_body_centre(panels[-len(picture.differences) - 1].data),
            greys=GREYS_HU,
            error_limit=DIFFERENCE_HU,
        )
    )
    figure.set_size_inches(_WIDTH * len(panels), 3 * _WIDTH)
    return figure


def save_picture(figure: Figure, target: Path) -> None:
    """Write a figure as PNG.

    Args:
        figure: From `draw_ct`.
        target: File.
    """
    figure.savefig(target, dpi=_DPI, format="png", facecolor="white")


def _on_grid(data: NDArray[Any], grid: Grid) -> NDArray[np.float32]:
    """Coarse voxels as the blocks that they are."""
    blocks = np.asarray(data, dtype=np.float32)
    for axis, side in enumerate(grid.shape):
        blocks = blocks.repeat(side // blocks.shape[axis], axis=axis)
    return blocks


def _body_centre(hu: NDArray[np.float32]) -> tuple[int, int, int]:
    """Middle of what is neither air nor lung; the mean of a CT depends on how much air is around."""
    inside = np.nonzero(hu > _BODY_HU) if (hu > _BODY_HU).any() else np.nonzero(hu > PADDING_HU - 1)
    i, j, k = (int(np.median(axis)) for axis in inside)
    return i, j, k
