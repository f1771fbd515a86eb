"""One picture per visit: what the network saw beside what it decoded, predicted features against measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
_WIDTH = 13.0
_OUTLINE = 0.5
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
    # Fixed places: a layout engine would take longer than everything else that is done with a visit.
    height = max(4.6, 0.3 * len(content.predictions) + 1.9)
    figure = Figure(figsize=(_WIDTH, height))
    FigureCanvasAgg(figure)
    _draw_slices(figure.add_axes((0.03, 0.14, 0.47, 0.7)), content)
    if content.predictions:
        _draw_features(figure.add_axes((0.635, 0.2, 0.2, 0.64)), content.predictions)
    figure.suptitle(content.title, fontsize=11)
    figure.supxlabel("\n".join([*content.warnings, RESEARCH_USE.capitalize() + "."]), fontsize=8)
    return figure


def _draw_slices(axis: Axes, content: LatentPicture) -> None:
    """Axial slices through the tumour, else through the middle; left of the patient on the left.

    Input above, decoded below, one grey window per pulse; the outline is that of the label map.
    """
    level, side = _level(content), content.image.shape[-1]
    tiles = []
    for at, there in enumerate(content.available):
        seen = content.image[at] if there else content.reconstruction[at]
        low, high = np.percentile(seen, (1, 99.7))
        slices = [volume[at, :, :, level].T for volume in (content.reconstruction, content.image)]
        tiles.append(np.concatenate([(one - low) / max(high - low, 1e-6) for one in slices]))
    axis.imshow(np.concatenate(tiles, axis=1), cmap="gray", vmin=0, vmax=1, origin="lower")
    if content.tumour is not None and content.tumour[:, :, level].max() > _OUTLINE:
        outline = np.tile(content.tumour[:, :, level].T, (2, len(tiles)))
        axis.contour(outline, levels=[_OUTLINE], colors=[_MEASURED], linewidths=0.8)
    centres = side * (np.arange(len(tiles)) + 0.5) - 0.5
    words = [
        pulse if there else f"{pulse}, absent" for pulse, there in zip(Pulse, content.available, strict=True)
    ]
    axis.set_xticks(centres, words, fontsize=9)
    axis.xaxis.tick_top()
    axis.set_yticks(centres[:2], ["decoded", "input"], rotation=90, va="center", fontsize=9)
    axis.tick_params(length=0)


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
    centre, measured = (
        np.clip([getattr(one, name) for one in guesses], -_FARTHEST, _FARTHEST)
        for name in ("standardised", "standardised_measured")
    )
    reach = _INTERVAL_SD * np.array([one.standardised_sd for one in guesses])
    axis.errorbar(
        centre, rows, xerr=reach, fmt="o", color=_PREDICTED, ms=5, label="predicted, 95 % of posterior"
    )
    axis.plot(measured, rows, "D", color=_MEASURED, ms=5, label="measured", clip_on=False)
    axis.axvline(0, color="0.8", lw=1, zorder=0)
    axis.set_yticks(rows, list(predictions), fontsize=8)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(-_FARTHEST, _FARTHEST)
    axis.set_xlabel("SD of the training patients, 0 is their mean", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    right = axis.secondary_yaxis("right")
    right.set_yticks(rows, [one.words() for one in guesses], fontsize=8)
    axis.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
