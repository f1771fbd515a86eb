"""One picture per visit: what the network saw beside what it decoded, predicted features against measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from revoxel.core.pulses import Pulse
from revoxel.core.report import OKABE_ITO
from revoxel.core.volumes import RESEARCH_USE, atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from revoxel.semivae.encoding.predictions import Prediction

_DPI = 110
_INTERVAL_SD = 1.96
_FARTHEST = 4.5
_PREDICTED, _MEASURED = OKABE_ITO[5], OKABE_ITO[6]


@dataclass(frozen=True, eq=False)
class LatentPicture:
    """What to draw.

    Args:
        image: `(4, S, S, S)` as the network saw it, RAS.
        reconstruction: `(4, S, S, S)` as it decoded it.
        available: `(4,)` which pulses were there.
        tumour: `(S, S, S)` share of tumour, if a label map is there.
        predictions: By feature.
        title: Line above the picture.
        warnings: Below it.
    """

    image: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    available: Sequence[bool]
    tumour: NDArray[np.float32] | None
    predictions: Mapping[str, Prediction]
    title: str
    warnings: Sequence[str] = ()


def save_picture(content: LatentPicture, path: Path) -> Path:
    """Draw and write a PNG.

    Args:
        content: What to draw.
        path: Target, which must not exist yet.

    Returns:
        `path`.

    Raises:
        OSError: If it cannot be written.
    """
    figure = _draw(content)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", facecolor="white")
    return path


def _draw(content: LatentPicture) -> Figure:
    n_rows = len(content.predictions)
    figure = Figure(figsize=(13, max(4.6, 0.34 * n_rows + 1.6)), layout="constrained")
    FigureCanvasAgg(figure)
    slices, features = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.25, 1.0)).flat
    _draw_slices(slices.subplots(2, len(Pulse), squeeze=False), content)
    if content.predictions:
        _draw_features(features.subplots(), content.predictions)
    figure.suptitle(content.title, fontsize=11)
    figure.supxlabel("\n".join([*content.warnings, RESEARCH_USE.capitalize() + "."]), fontsize=8)
    return figure


def _draw_slices(axes: NDArray[Any], content: LatentPicture) -> None:
    """Axial slices through the tumour, else through the middle; left of the patient on the left."""
    level = _level(content)
    for column, pulse in enumerate(Pulse):
        rows = {"input": content.image, "decoded": content.reconstruction}
        seen = content.image[column] if content.available[column] else content.reconstruction[column]
        low, high = np.percentile(seen, (1, 99.7))
        for axis, (name, volume) in zip(axes[:, column], rows.items(), strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(name, fontsize=9)
            if name == "input" and not content.available[column]:
                axis.text(0.5, 0.5, "not given", ha="center", va="center", fontsize=9)
                continue
            axis.imshow(volume[column, :, :, level].T, cmap="gray", vmin=low, vmax=high, origin="lower")
        axes[0, column].set_title(pulse.value, fontsize=9)


def _level(content: LatentPicture) -> int:
    weight = content.tumour if content.tumour is not None else np.abs(content.image).sum(axis=0)
    per_slice = weight.sum(axis=(0, 1))
    if not per_slice.any():
        return len(per_slice) // 2
    return int(np.round(np.average(np.arange(len(per_slice)), weights=per_slice)))


def _draw_features(axis: Axes, predictions: Mapping[str, Prediction]) -> None:
    """Predicted and measured values on the scale of the training patients: 0 is their mean, 1 their SD."""
    rows = np.arange(len(predictions))
    guesses = list(predictions.values())
    centre = np.array([one.standardised for one in guesses])
    reach = _INTERVAL_SD * np.array([one.standardised_sd for one in guesses])
    axis.errorbar(
        centre, rows, xerr=reach, fmt="o", color=_PREDICTED, ms=5, label="predicted, 95 % of posterior"
    )
    axis.plot(
        [one.standardised_measured for one in guesses], rows, "D", color=_MEASURED, ms=5, label="measured"
    )
    axis.axvline(0, color="0.8", lw=1, zorder=0)
    axis.set_yticks(rows, list(predictions), fontsize=8)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(-_FARTHEST, _FARTHEST)
    axis.set_xlabel("SD of the training patients, 0 is their mean", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    right = axis.secondary_yaxis("right")
    right.set_yticks(rows, [one.words() for one in guesses], fontsize=8)
    axis.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
