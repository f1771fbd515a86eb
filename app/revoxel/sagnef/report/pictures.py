"""Slices as small pictures inside the page."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.image import imsave

from revoxel.core.html_page import data_uri
from revoxel.core.report import OKABE_ITO
from revoxel.sagnef.report.display import Plane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.sagnef.report.display import View
    from revoxel.sagnef.report.material import Material

    Pixels = NDArray[np.uint8]

QUALITY = 92
# Colours say which and how much, not what the tissue looks like.
_COLOUR_QUALITY = 65
_ERROR_COLOURS = "PuOr"
_WEIGHT_COLOURS = "cividis"
_ENLARGED = 3
_HATCH_PIXELS = 14
_SAME_WEIGHT = 0.005
_HATCH_SHADE = 0.55
_TINT = 0.6


@dataclass(frozen=True)
class Picture:
    """One slice.

    Args:
        uri: The picture itself.
        alt: What it shows, for those who do not see it.
        width_mm: Its width.
        height_mm: Its height.
    """

    uri: str
    alt: str
    width_mm: float
    height_mm: float


@dataclass(frozen=True)
class Column:
    """One volume in three planes.

    Args:
        title: What it is.
        pictures: By plane.
        kind: Style of the column: grey, error, weight or dominant.
    """

    title: str
    pictures: dict[Plane, Picture]
    kind: str = "grey"


@dataclass(frozen=True)
class Window:
    """Which values are black and white: the same for all volumes of a run, so that they can be compared.

    Args:
        low: Black.
        high: White.
        error: What the strongest colours of an error mean, in the units of the scan.
    """

    low: float
    high: float
    error: float

    def grey(self, data: NDArray[np.float32]) -> Pixels:
        """Grey levels.

        Args:
            data: Of any shape.

        Returns:
            The same with a last axis of red, green and blue.
        """
        levels = 255 * np.clip((data - self.low) / (self.high - self.low), 0, 1)
        return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=-1)

    def colour_error(self, data: NDArray[np.float32]) -> Pixels:
        """Orange where too dark, purple where too bright, white where right.

        Args:
            data: Of any shape.

        Returns:
            The same with a last axis of red, green and blue.
        """
        return colormaps[_ERROR_COLOURS](0.5 + data / (2 * self.error), bytes=True)[..., :3]


def window_of(material: Material, view: View) -> Window:
    """The window of a run, from its truth or else from its result.

    Args:
        material: Volumes.
        view: What is shown.
    """
    guide = view.cut(material.fused if material.truth is None else material.truth)
    low, high = (float(value) for value in np.percentile(guide, (1, 99.7)))
    high = high if high > low else low + 1.0
    return Window(low, high, 0.2 * (high - low))


def slice_columns(material: Material, view: View, window: Window) -> list[Column]:
    """Thick slices, every expert, result, truth and error, as far as they are there.

    Args:
        material: Volumes.
        view: What is shown.
        window: Black and white.
    """
    volumes: dict[str, NDArray[np.float32] | None] = {
        "thick slices": material.low,
        **material.experts,
        "fused": material.fused,
        "truth": material.truth,
    }
    columns = [
        _column(title, {plane: window.grey(view.slice(data, plane)) for plane in Plane}, view)
        for title, data in volumes.items()
        if data is not None
    ]
    if material.truth is not None:
        error = error_of(material)
        drawn = {plane: window.colour_error(view.slice(error, plane)) for plane in Plane}
        columns.append(_column("error of fused", drawn, view, "error"))
    return columns


def error_of(material: Material) -> NDArray[np.float32]:
    """Result minus truth; zero where the truth is not known.

    Args:
        material: Volumes with a truth.
    """
    error = np.zeros_like(material.fused)
    if material.truth is not None:
        error[material.known] = (material.fused - material.truth)[material.known]
    return error


def weight_columns(material: Material, view: View, window: Window) -> list[Column]:
    """One map per expert, and which expert rules where; nothing if the weights are the same everywhere.

    Args:
        material: Volumes.
        view: What is shown.
        window: Black and white of the anatomy below the colours.
    """
    if not any(np.ptp(share[material.head]) > _SAME_WEIGHT for share in material.weights.values()):
        return []
    colours = colormaps[_WEIGHT_COLOURS]

    def _on_head(pixels: Pixels, plane: Plane) -> Pixels:
        return pixels[..., :3] * view.slice(material.head, plane)[..., None]

    columns = [
        _column(
            f"weight of {name}",
            {plane: _on_head(colours(view.slice(share, plane), bytes=True), plane) for plane in Plane},
            view,
            "weight",
        )
        for name, share in material.weights.items()
    ]
    ruled = {plane: _ruled(material, view, window, plane) for plane in Plane}
    return [*columns, _column("dominant expert", ruled, view, "dominant")]


def dominant_map(material: Material) -> NDArray[np.float32]:
    """Number of the expert with the largest weight from 1; 0 outside the head.

    Args:
        material: Volumes with weights.
    """
    winners = 1 + np.argmax(list(material.weights.values()), axis=0)
    return np.where(material.head, winners, 0).astype(np.float32)


def encode(pixels: Pixels, quality: int = QUALITY) -> str:
    """A picture as an address that needs no file.

    Args:
        pixels: `(row, column, rgb)`.
        quality: Of WebP, 0 to 100.
    """
    buffer = BytesIO()
    imsave(buffer, pixels, format="webp", pil_kwargs={"quality": quality})
    return data_uri(buffer.getvalue(), "image/webp")


def _column(title: str, drawn: Mapping[Plane, Pixels], view: View, kind: str = "grey") -> Column:
    quality = QUALITY if kind == "grey" else _COLOUR_QUALITY
    pictures = {
        plane: Picture(encode(pixels, quality), f"{title}, {plane} slice", *view.size_mm(plane))
        for plane, pixels in drawn.items()
    }
    return Column(title, pictures, kind)


def _ruled(material: Material, view: View, window: Window, plane: Plane) -> Pixels:
    """Colour and hatch of the ruling expert over the anatomy, enlarged so that the hatch can be seen."""
    grey = _enlarge(window.grey(view.slice(material.fused, plane))) / 255.0
    winners = _enlarge(view.slice(dominant_map(material), plane))
    for number in range(1, len(material.weights) + 1):
        here = winners == number
        grey[here] = (1 - _TINT + _TINT * grey[here]) * to_rgb(OKABE_ITO[number - 1])
        grey[here & _hatch(number - 1, winners.shape)] *= _HATCH_SHADE
    return (255 * grey).astype(np.uint8)


def _enlarge(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)


def _hatch(number: int, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Lines that tell the experts apart in black and white, the same as those of the legend."""
    row, column = np.indices(shape)
    lines = {0: row + column, 1: row - column, 2: row, 3: column}
    return lines[number % len(lines)] % _HATCH_PIXELS < 2
