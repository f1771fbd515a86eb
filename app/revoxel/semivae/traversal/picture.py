"""Sweeps to look at: a PNG with one row per direction, a GIF that goes back and forth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from revoxel.core.pulses import Pulse
from revoxel.core.volumes import RESEARCH_USE, atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.traversal.sweep import Sweep

    Pixels = NDArray[np.float32]
    Voxel = tuple[int, int, int]

_DPI = 100
_INCHES = 1.5
_FRAMES_PER_SECOND = 5
_MOST_COLUMNS = 4
#: Room for a caption below a tile, as a share of its side.
_CAPTION = 0.16


def draw_sweeps(sweeps: Sequence[Sweep], model: SemiVaeModel, pulse: Pulse, voxel: Voxel, path: Path) -> None:
    """Draw every step of every sweep, and what differs between its ends, in the plane that changes most.

    Args:
        sweeps: Rows.
        model: For units.
        pulse: Shown.
        voxel: That planes go through.
        path: PNG, which must not exist yet.

    Raises:
        OSError: If it cannot be written.
    """
    rows = [[*_tiles(one, pulse, voxel), _difference(one, pulse, voxel)] for one in sweeps]
    figure, axis = _canvas(rows)
    axis.imshow(_mosaic(rows))
    side = len(rows[0][0])
    steps = [f"{step:+g} sd" for step in sweeps[0].steps_sd]
    for column, words in enumerate([*steps, "last - first"]):
        axis.text((column + 0.5) * side, -0.04 * side, words, ha="center", va="bottom", fontsize=8)
    for row, one in enumerate(sweeps):
        top = row * side * (1 + _CAPTION)
        axis.text(-0.05 * side, top + side / 2, one.direction.name, ha="right", va="center", fontsize=8)
        for column, words in enumerate(_captions(one, model)):
            axis.text((column + 0.5) * side, top + 1.02 * side, words, ha="center", va="top", fontsize=6)
    end = len(rows) * side * (1 + _CAPTION)
    words = f"{pulse.value}; asked > found in the decoded image. {RESEARCH_USE.capitalize()}."
    axis.text(0, end + 0.1 * side, words, va="top", fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white", bbox_inches="tight")


def animate_sweeps(sweeps: Sequence[Sweep], pulse: Pulse, voxel: Voxel, path: Path) -> None:
    """Play all sweeps side by side, there and back.

    Args:
        sweeps: Panels.
        pulse: Shown.
        voxel: That planes go through.
        path: GIF, which must not exist yet.

    Raises:
        OSError: If it cannot be written.
    """
    tiles = [_tiles(one, pulse, voxel) for one in sweeps]
    n_columns, n_steps = min(_MOST_COLUMNS, len(tiles)), len(tiles[0])
    blank = np.ones_like(tiles[0][0])
    tiles += [[blank] * n_steps] * (-len(tiles) % n_columns)
    frames = [
        [
            [tile[step] for tile in tiles[first : first + n_columns]]
            for first in range(0, len(tiles), n_columns)
        ]
        for step in range(n_steps)
    ]
    figure, axis = _canvas(frames[0])
    shown = axis.imshow(_mosaic(frames[0]))
    side = len(blank)
    for at, one in enumerate(sweeps):
        row, column = divmod(at, n_columns)
        place = ((column + 0.5) * side, (row * (1 + _CAPTION) + 1.02) * side)
        axis.text(*place, one.direction.name, ha="center", va="top", fontsize=7)

    def show(step: int) -> list[Artist]:
        shown.set_data(_mosaic(frames[step]))
        return [shown]

    there = list(range(n_steps))
    film = FuncAnimation(figure, show, frames=[*there, *there[-2:0:-1]])
    with atomic_path(path) as temporary:
        film.save(temporary, writer=PillowWriter(fps=_FRAMES_PER_SECOND), dpi=_DPI)


def _canvas(rows: Sequence[Sequence[Pixels]]) -> tuple[Figure, Axes]:
    """One axis for all tiles: dozens of axes would take a minute to lay out."""
    figure = Figure(figsize=(_INCHES * len(rows[0]), _INCHES * (1 + _CAPTION) * len(rows)))
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axis.set_axis_off()
    return figure, axis


def _mosaic(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    side = len(rows[0][0])
    below = np.ones((round(_CAPTION * side), side * len(rows[0]), 3), dtype=np.float32)
    return np.concatenate([part for row in rows for part in (np.concatenate(row, axis=1), below)])


def _tiles(one: Sweep, pulse: Pulse, voxel: Voxel) -> list[Pixels]:
    """Each step as `(row, column, rgb)` in one grey window."""
    planes = _planes(one, pulse, voxel)
    low, high = np.percentile(one.images[:, list(Pulse).index(pulse)], (1, 99.7))
    greys = np.clip((planes - low) / max(high - low, 1e-6), 0, 1)
    return [np.repeat(grey[..., None], 3, axis=-1).astype(np.float32) for grey in greys]


def _difference(one: Sweep, pulse: Pulse, voxel: Voxel) -> Pixels:
    planes = _planes(one, pulse, voxel)
    change = planes[-1] - planes[0]
    limit = max(float(np.abs(change).max()), 1e-6)
    return colormaps["PuOr"](0.5 + 0.5 * change / limit)[..., :3].astype(np.float32)


def _planes(one: Sweep, pulse: Pulse, voxel: Voxel) -> Pixels:
    """Slices `(step, row, column)` through a voxel, of the axis in which the sweep's ends differ most."""
    volumes = one.images[:, list(Pulse).index(pulse)]
    change = np.abs(volumes[-1] - volumes[0])
    seen = [float(np.take(change, at, axis=axis).sum()) for axis, at in enumerate(voxel)]
    axis = int(np.argmax(seen))
    # Anterior or superior is up.
    return np.take(volumes, voxel[axis], axis=axis + 1).swapaxes(1, 2)[:, ::-1]


def _captions(one: Sweep, model: SemiVaeModel) -> list[str]:
    values = one.values(model)
    if not values:
        return []
    return [f"{asked:.3g} > {found:.3g}" for asked, found in zip(*values.values(), strict=True)]
