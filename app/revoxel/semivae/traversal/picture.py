"""Sweeps to look at: a PNG with one row per direction, a GIF that goes back and forth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from revoxel.core.pulses import Pulse
from revoxel.core.volumes import RESEARCH_USE, atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from numpy.typing import NDArray

    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.traversal.sweep import Sweep

    Pixels = NDArray[np.float32]

_DPI = 100
_FRAMES_PER_SECOND = 5
_MOST_COLUMNS = 4


def draw_sweeps(
    sweeps: Sequence[Sweep], model: SemiVaeModel, pulse: Pulse, voxel: tuple[int, int, int], path: Path
) -> None:
    """Draw every step of every sweep; the plane is the one in which a step changes most.

    Args:
        sweeps: Rows.
        model: For units.
        pulse: Shown.
        voxel: That planes go through.
        path: PNG, which must not exist yet.

    Raises:
        OSError: If it cannot be written.
    """
    n_steps = len(sweeps[0].steps_sd)
    figure = Figure(figsize=(1.6 * n_steps + 1, 1.75 * len(sweeps) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(sweeps), n_steps, squeeze=False)
    for row, one in zip(axes, sweeps, strict=True):
        planes, (low, high) = _planes(one, pulse, voxel), _greys(one, pulse)
        captions = _captions(one, model)
        for axis, pixels, caption in zip(row, planes, captions, strict=True):
            axis.imshow(pixels.T, cmap="gray", vmin=low, vmax=high, origin="lower")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(caption, fontsize=6, labelpad=1)
        row[0].set_ylabel(one.direction.name, fontsize=7)
    for axis, step in zip(axes[0], sweeps[0].steps_sd, strict=True):
        axis.set_title(f"{step:+g} sd", fontsize=8)
    figure.supxlabel(
        f"{pulse.value}; asked > found in the decoded image. {RESEARCH_USE.capitalize()}.", fontsize=7
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")


def animate_sweeps(sweeps: Sequence[Sweep], pulse: Pulse, voxel: tuple[int, int, int], path: Path) -> None:
    """Play all sweeps side by side, there and back.

    Args:
        sweeps: Panels.
        pulse: Shown.
        voxel: That planes go through.
        path: GIF, which must not exist yet.

    Raises:
        OSError: If it cannot be written.
    """
    n_columns = min(_MOST_COLUMNS, len(sweeps))
    n_rows = -(-len(sweeps) // n_columns)
    figure = Figure(figsize=(2 * n_columns, 2.25 * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    planes = [_planes(one, pulse, voxel) for one in sweeps]
    shown = []
    for axis, one, pixels in zip(axes, sweeps, planes, strict=False):
        low, high = _greys(one, pulse)
        shown.append(axis.imshow(pixels[0].T, cmap="gray", vmin=low, vmax=high, origin="lower"))
        axis.set_title(one.direction.name, fontsize=7)
    for axis in axes:
        axis.set_axis_off()
    there = list(range(len(sweeps[0].steps_sd)))

    def show(step: int) -> list[Artist]:
        for image, pixels in zip(shown, planes, strict=True):
            image.set_data(pixels[step].T)
        return [*shown]

    film = FuncAnimation(figure, show, frames=[*there, *there[-2:0:-1]])
    with atomic_path(path) as temporary:
        film.save(temporary, writer=PillowWriter(fps=_FRAMES_PER_SECOND), dpi=_DPI)


def _planes(one: Sweep, pulse: Pulse, voxel: tuple[int, int, int]) -> list[Pixels]:
    """Slices through a voxel along the axis in which the ends of the sweep differ most there."""
    volumes = one.images[:, list(Pulse).index(pulse)]
    change = np.abs(volumes[-1] - volumes[0])
    seen = [float(np.take(change, at, axis=axis).sum()) for axis, at in enumerate(voxel)]
    axis = int(np.argmax(seen))
    return [np.take(volume, voxel[axis], axis=axis) for volume in volumes]


def _greys(one: Sweep, pulse: Pulse) -> tuple[float, float]:
    low, high = np.percentile(one.images[:, list(Pulse).index(pulse)], (1, 99.7))
    return float(low), float(high) if high > low else float(low) + 1.0


def _captions(one: Sweep, model: SemiVaeModel) -> list[str]:
    values = one.values(model)
    if not values:
        return [""] * len(one.steps_sd)
    return [f"{asked:.3g} > {found:.3g}" for asked, found in zip(*values.values(), strict=True)]
