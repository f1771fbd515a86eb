"""One picture: inputs and reconstructions of a small, a middle and a large tumour, and the two matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from revoxel.core.pulses import Pulse
from revoxel.core.volumes import RESEARCH_USE, atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from revoxel.semivae.diagnosis.matrix import NamedMatrix

    Volume = NDArray[np.float32]

_DPI = 110
_DARK = 0.6
_TITLES = {
    "intervention": "Exchange a part (row): change of predictions\n(good: 1 on the diagonal, 0 beside it)",
    "cross_probe": "R2 of a probe from a part (row) on other patients",
}


@dataclass(frozen=True, eq=False)
class Example:
    """A scan to show.

    Args:
        title: Its name and volume.
        image: `(4, S, S, S)`.
        reconstruction: `(4, S, S, S)`.
        tumour: `(S, S, S)` share of tumour.
        available: `(4,)` which pulses there are.
    """

    title: str
    image: Volume
    reconstruction: Volume
    tumour: Volume
    available: Sequence[bool]


def draw_evaluation(
    examples: Sequence[Example], matrices: Mapping[str, NamedMatrix], title: str, path: Path
) -> None:
    """Draw and write a PNG.

    Args:
        examples: Columns of images.
        matrices: Heat maps below, by name.
        title: Line above.
        path: Target, which must not exist yet.

    Raises:
        OSError: If it cannot be written.
    """
    figure = Figure(figsize=(4.3 * max(len(examples), 2), 10), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.1, 1.0))
    above, below = parts
    _draw_examples(above, examples)
    axes = below.subplots(
        1, len(matrices), squeeze=False, width_ratios=[_width(one) for one in matrices.values()]
    )
    for axis, (name, matrix) in zip(axes[0], matrices.items(), strict=True):
        _draw_matrix(axis, matrix, _TITLES[name])
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(f"{RESEARCH_USE.capitalize()}.", fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")


def _draw_examples(figure: Any, examples: Sequence[Example]) -> None:
    """Two pulses of each scan, input above, reconstruction below, axial through the tumour."""
    axes = figure.subplots(2, 2 * len(examples), squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for at, example in enumerate(examples):
        shown = [index for index, there in enumerate(example.available) if there][::2] * 2
        for column, pulse in zip((2 * at, 2 * at + 1), shown, strict=False):
            _draw_pair(axes[:, column], example, pulse)
        axes[0, 2 * at].set_title(example.title, fontsize=8, loc="left")
    axes[0, 0].set_ylabel("input", fontsize=9)
    axes[1, 0].set_ylabel("from the latent", fontsize=9)


def _draw_pair(axes: NDArray[Any], example: Example, pulse: int) -> None:
    level = _level(example.tumour)
    low, high = np.percentile(example.image[pulse], (1, 99.7))
    for axis, volume in zip(axes, (example.image, example.reconstruction), strict=True):
        axis.imshow(volume[pulse, :, :, level].T, cmap="gray", vmin=low, vmax=high, origin="lower")
    axes[1].set_xlabel(list(Pulse)[pulse].value, fontsize=8)


def _level(tumour: Volume) -> int:
    per_slice = tumour.sum(axis=(0, 1))
    return int(per_slice.argmax()) if per_slice.any() else len(per_slice) // 2


def _width(matrix: NamedMatrix) -> float:
    return 2.0 + len(matrix.columns)


def _draw_matrix(axis: Axes, matrix: NamedMatrix, title: str) -> None:
    axis.imshow(matrix.values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(matrix.columns)), matrix.columns, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(len(matrix.rows)), matrix.rows, fontsize=8)
    axis.set_title(title, fontsize=9)
    for (row, column), value in np.ndenumerate(matrix.values):
        text = "-" if np.isnan(value) else f"{value:.2f}"
        colour = "black" if np.isnan(value) or value > _DARK else "white"
        axis.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
