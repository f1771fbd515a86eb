"""Two views from files, on one detector, and what a coarse volume can say about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate, pad

from revoxel.ct.xray.agreement import correlation, refuse_other_arrangement
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.geometry_file import GeometryRecord, read_geometry
from revoxel.ct.xray.projector import project_views
from revoxel.ct.xray.view_files import ViewsUnit, nepers_of, read_view

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from revoxel.ct.xray.projector import Spacing
    from revoxel.ct.xray.view_files import ViewImage


@dataclass(frozen=True)
class ViewOptions:
    """What a user says about two views.

    Attributes:
        unit: Of the grey values.
        flip: Views that are upside down.
        mirror: Views that are mirrored left to right.
        geometry: JSON file, or a geometry.
    """

    unit: ViewsUnit = ViewsUnit.DISPLAY
    flip: tuple[View, ...] = ()
    mirror: tuple[View, ...] = ()
    geometry: Path | XrayGeometry | None = None


@dataclass(frozen=True, eq=False)
class Views:
    """Two views on one detector.

    Attributes:
        images: `(2, 1, row, column)`, frontal first; in nepers unless `is_relative`.
        geometry: Of both.
        is_relative: Whether the scale is unknown: only `settle_views` makes nepers of them.
        notes: What a user should know, one sentence each.
    """

    images: Tensor
    geometry: XrayGeometry
    is_relative: bool
    notes: tuple[str, ...] = ()


def load_views(frontal: Path | str, lateral: Path | str, options: ViewOptions | None = None) -> Views:
    """Read two views.

    Args:
        frontal: PNG, TIFF, DICOM or NIfTI file.
        lateral: Likewise.
        options: What they are.

    Returns:
        Both on the detector of the geometry.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no view in the stated unit, or its size cannot be brought onto the detector.
    """
    options = options or ViewOptions()
    record = _record(options.geometry)
    scale = record.display_max_nepers or {}
    geometry = record.geometry
    is_relative = options.unit is ViewsUnit.DISPLAY and set(scale) != set(View)
    read = [read_view(path) for path in (frontal, lateral)]
    if geometry.pixel_mm is None and read[0].pixel_mm:
        # The detector that DICOM states, whatever number of pixels it is shown with.
        geometry = replace(geometry, pixel_mm=read[0].pixel_mm * max(read[0].values.shape) / geometry.size)
    images = [
        _laid(
            nepers_of(image, options.unit, None if is_relative else scale.get(view)), view, options, geometry
        )
        for image, view in zip(read, View, strict=True)
    ]
    return Views(torch.stack(images), geometry, is_relative, _notes(read, options.unit, is_relative))


def settle_views(views: Views, coarse_hu: Tensor, spacing_mm: Spacing) -> tuple[Tensor, dict[str, Any]]:
    """Check views against a volume that belongs to them and give them in nepers.

    A display image is mapped by the straight line that fits the volume's X-rays best. A curve that the
    display may have applied stays in it: such views are good for shape, not for amounts.

    Args:
        views: Two views.
        coarse_hu: `(1, 1, x, y, z)` in HU, RAS, whose centre is the isocentre.
        spacing_mm: Voxel size along x, y, z.

    Returns:
        `(1, 2, 1, row, column)` in nepers, and what was found: `correlation`, and `display_map` by view.

    Raises:
        ValueError: If the views are swapped, upside down, mirrored or inverted.
    """
    with torch.no_grad():
        expected = project_views(coarse_hu.float(), spacing_mm, views.geometry)[0]
    found: dict[str, Any] = {
        "views_correlation": refuse_other_arrangement(views.images, expected),
        "views_correlations": {
            view: correlation(views.images[index], expected[index]) for index, view in enumerate(View)
        },
    }
    if not views.is_relative:
        return views.images[None], found
    lines = [_line(image, target) for image, target in zip(views.images, expected, strict=True)]
    found["display_map"] = {
        view: {"nepers_at_black": offset, "nepers_per_unit": gain}
        for view, (offset, gain) in zip(View, lines, strict=True)
    }
    nepers = [offset + gain * image for image, (offset, gain) in zip(views.images, lines, strict=True)]
    return torch.stack(nepers)[None].clamp(min=0), found


def require_nepers(views: Views) -> Tensor:
    """Views for a step that has no volume to scale them by.

    Args:
        views: Two views.

    Returns:
        `(1, 2, 1, row, column)` in nepers.

    Raises:
        ValueError: If their scale is unknown.
    """
    if views.is_relative:
        msg = (
            "views must have a scale where there is no CT to take it from, got display images; give nepers "
            "or transmission with --views-unit, or state display_max_nepers in the geometry file."
        )
        raise ValueError(msg)
    return views.images[None]


def _record(geometry: Path | XrayGeometry | None) -> GeometryRecord:
    if geometry is None or isinstance(geometry, XrayGeometry):
        return GeometryRecord.of(geometry or XrayGeometry("cone"))
    return read_geometry(geometry)


def _laid(image: ViewImage, view: View, options: ViewOptions, geometry: XrayGeometry) -> Tensor:
    """`(1, row, column)` upright on the detector."""
    values = torch.from_numpy(image.values)[None]
    dims = [axis for axis, views in ((1, options.flip), (2, options.mirror)) if view in views]
    values = values.flip(dims)
    if image.pixel_mm and geometry.pixel_mm:
        values = _on_square(values, geometry.pixel_mm * geometry.size / image.pixel_mm)
    if values.shape[1] != values.shape[2]:
        msg = (
            f"{image.path} must be square or state its pixel size in DICOM, got {tuple(values.shape[1:])}; "
            "crop or pad it to the detector's square."
        )
        raise ValueError(msg)
    if values.shape[1] == geometry.size:
        return values
    side = (geometry.size, geometry.size)
    return interpolate(values[None], side, mode="bilinear", antialias=True, align_corners=False)[0]


def _on_square(values: Tensor, side_pixels: float) -> Tensor:
    """Crop or pad around the middle; what was not exposed repeats the edge."""
    n_side = max(2, round(side_pixels))
    for axis in (1, 2):
        excess = values.shape[axis] - n_side
        if excess > 0:
            values = values.narrow(axis, excess // 2, n_side)
    height, width = (n_side - n for n in values.shape[1:])
    pads = (width // 2, width - width // 2, height // 2, height - height // 2)
    return pad(values[None], pads, mode="replicate")[0]


def _line(image: Tensor, target: Tensor) -> tuple[float, float]:
    """Offset and gain, least squares."""
    columns = torch.stack([torch.ones_like(image).flatten(), image.flatten()], dim=1).double()
    offset, gain = torch.linalg.lstsq(columns, target.flatten().double()[:, None]).solution[:, 0].tolist()
    return offset, gain


def _notes(images: list[ViewImage], unit: ViewsUnit, is_relative: bool) -> tuple[str, ...]:
    notes = []
    if is_relative:
        notes.append(
            "the views are display images: brightness grows with attenuation by an unknown curve, so that "
            "they guide shape, not amounts."
        )
    if unit is ViewsUnit.TRANSMISSION:
        black = [float((image.values <= 0).mean()) for image in images]
        if max(black) > 0:
            notes.append(f"{100 * max(black):.2g} % of a view is black: its attenuation is a lower bound.")
    return tuple(notes)
