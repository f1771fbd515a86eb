"""X-ray images from files: grey values of PNG, TIFF, DICOM or NIfTI, and what they can be turned into."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.reasons import reason_of
from revoxel.core.volumes import volume_stem

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Ends of the names of frontal and lateral view beside a CT.
VIEW_ENDINGS = ("_pa_drr", "_lat_drr")
SUFFIXES = (".png", ".tif", ".tiff", ".dcm", ".nii", ".nii.gz")
_HIGHEST_NEPERS = 30.0


class ViewsUnit(StrEnum):
    """What the grey values of a view are."""

    #: Line integrals of the attenuation.
    NEPERS = "nepers"
    #: Share of the radiation that arrives, 1 in air; integers are divided by the largest their type holds.
    TRANSMISSION = "transmission"
    #: Any brightness that grows with the attenuation, its scale unknown unless the geometry file states it.
    DISPLAY = "display"


@dataclass(frozen=True, eq=False)
class ViewImage:
    """One view as a file holds it.

    Attributes:
        values: `(row, column)` float32; integers divided by the largest of their type.
        is_integer: Whether the file holds whole numbers.
        pixel_mm: Side of a pixel on the detector, where DICOM states it.
        path: The file.
    """

    values: NDArray[np.float32]
    is_integer: bool
    pixel_mm: float | None
    path: Path


def views_beside(ct: Path) -> tuple[Path, Path] | None:
    """Find the views of a CT by name: `<id>_pa_drr.png` and `<id>_lat_drr.png`, or another format.

    Args:
        ct: The CT's file or folder; the views lie beside it.

    Returns:
        Frontal and lateral view, or `None` if there is neither; TIFF before PNG, which has no scale.

    Raises:
        ValueError: If there is one without the other.
    """
    stem = ct.parent / volume_stem(ct)
    order = (".tiff", ".tif", ".nii.gz", ".nii", ".dcm", ".png")
    found = [
        next((path for suffix in order if (path := Path(f"{stem}{ending}{suffix}")).is_file()), None)
        for ending in VIEW_ENDINGS
    ]
    frontal, lateral = found
    if frontal is None and lateral is None:
        return None
    if frontal is None or lateral is None:
        missing = VIEW_ENDINGS[found.index(None)]
        msg = f"{ct} must have both views, got none named {stem.name}{missing}; add it, or remove the other."
        raise ValueError(msg)
    return frontal, lateral


def read_view(path: Path | str) -> ViewImage:
    """Read one grey image.

    Args:
        path: PNG, TIFF, DICOM or NIfTI file.

    Returns:
        Its values, top row first.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is not one readable grey image.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path} must be an X-ray image, got no file there; check the path."
        raise FileNotFoundError(msg)
    if not path.name.lower().endswith(SUFFIXES):
        msg = f"{path} must be one of {', '.join(SUFFIXES)}, got {path.name!r}; convert it."
        raise ValueError(msg)
    grey = _grey(path, _pixels(path))
    if not np.isfinite(grey).all():
        msg = f"{path} must be finite, got NaN or infinity; convert it again."
        raise ValueError(msg)
    if grey.min() == grey.max():
        msg = f"{path} must show something, got one grey value; check the file."
        raise ValueError(msg)
    is_integer = grey.dtype.kind in "ui"
    values = grey.astype(np.float32) / (np.iinfo(grey.dtype).max if is_integer else 1.0)
    if path.name.lower().endswith(".dcm"):
        return _as_dicom_says(ViewImage(values, is_integer, None, path))
    return ViewImage(values, is_integer, None, path)


def nepers_of(image: ViewImage, unit: ViewsUnit, display_max_nepers: float | None = None) -> ViewImage:
    """Turn grey values into nepers, as far as their unit allows.

    Args:
        image: As read.
        unit: What its values are.
        display_max_nepers: What the largest value of a display image stands for.

    Returns:
        The image in nepers; a display image without a scale stays as it is.

    Raises:
        ValueError: If the values cannot be of this unit.
    """
    values = image.values
    if unit is ViewsUnit.NEPERS:
        if image.is_integer or values.max() > _HIGHEST_NEPERS or values.min() < -1.0:
            kind = "whole numbers" if image.is_integer else f"{values.min():.3g} to {values.max():.3g}"
            msg = f"{image.path} must hold nepers (0 to about 10), got {kind}; pass --views-unit display."
            raise ValueError(msg)
        return image
    if unit is ViewsUnit.TRANSMISSION:
        if values.min() < 0 or values.max() > 1.05:
            msg = (
                f"{image.path} must hold transmission (0 to 1), got {values.min():.3g} to "
                f"{values.max():.3g}; pass another --views-unit."
            )
            raise ValueError(msg)
        # What the darkest level hides cannot be known: half a level of 16 bits is 11.8 nepers.
        return _with(image, -np.log(np.clip(values, 0.5 / 65535, 1.0)))
    if not image.is_integer and values.max() > 0:
        values = values / values.max()
    return _with(image, values * (display_max_nepers or 1.0))


def _pixels(path: Path) -> NDArray[Any]:
    import itk

    try:
        return np.asarray(itk.array_from_image(itk.imread(str(path))))
    except (RuntimeError, TypeError, KeyError, OSError) as error:
        msg = f"{path} must be a readable image, got '{reason_of(error)}'; convert it again."
        raise ValueError(msg) from error


def _grey(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """`(row, column)` of an image with spare axes or equal colours."""
    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and pixels.shape[2] in {2, 3, 4}:
        n_colours = 1 if pixels.shape[2] == 2 else 3
        if (pixels[..., :n_colours] == pixels[..., :1]).all():
            pixels = pixels[..., 0]
    if pixels.ndim != 2:
        msg = f"{path} must be one grey image, got shape {pixels.shape}; convert it to greyscale."
        raise ValueError(msg)
    return pixels


def _as_dicom_says(image: ViewImage) -> ViewImage:
    """Scale by the brightest pixel, since few of the bits are used, and read the detector's pixel."""
    from pydicom import dcmread

    # GDCM has turned dark bones (MONOCHROME1) round.
    header = dcmread(image.path, stop_before_pixels=True)
    spacing = header.get("ImagerPixelSpacing") or header.get("PixelSpacing")
    scaled = _with(image, image.values / image.values.max()) if image.is_integer else image
    return replace(scaled, pixel_mm=float(spacing[0]) if spacing else None)


def _with(image: ViewImage, values: NDArray[Any]) -> ViewImage:
    return replace(image, values=values.astype(np.float32))
