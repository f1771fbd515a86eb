"""Read an ASL image: volumes of one grid in one array, whatever the file's fourth and fifth axes are."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor

from revoxel.core.geometry import Grid
from revoxel.core.reasons import reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_UNREADABLE = (EOFError, OSError, ValueError, MemoryError, OverflowError, zlib.error, ImageFileError)


def image_shape(path: Path, echo: int | None = None) -> tuple[int, ...]:
    """Shape of an image as `read_series` would give it, from the header alone.

    Args:
        path: NIfTI file.
        echo: Image of the fifth axis.

    Returns:
        `(volume, i, j, k)`.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is no such image.
    """
    return _shape(path, _opened(path).shape, echo)


def read_series(path: Path, echo: int | None = None) -> tuple[NDArray[np.float32], Grid]:
    """Read every volume of an image.

    Args:
        path: NIfTI file of three, four or five axes.
        echo: Image of the fifth axis, which must be given if there is one.

    Returns:
        `(volume, i, j, k)` in the units of the file, and the grid.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it cannot be read, or has a fifth axis without `echo`.
    """
    image = _opened(path)
    n_volumes, i, j, k = _shape(path, image.shape, echo)
    try:
        data = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
    except _UNREADABLE as error:
        raise ValueError(_unreadable(path, error)) from error
    if data.ndim == 5:
        data = data[..., echo or 0]
    volumes = np.ascontiguousarray(np.moveaxis(data.reshape(i, j, k, n_volumes), -1, 0))
    try:
        return volumes, Grid((i, j, k), image.affine)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error


def _opened(path: Path) -> nibabel.spatialimages.SpatialImage:
    if not path.is_file():
        msg = f"{path} must be an existing image, got nothing there; check the path, or fetch its content."
        raise FileNotFoundError(msg)
    try:
        with LoggingOutputSuppressor():
            image = nibabel.load(path)
    except _UNREADABLE as error:
        raise ValueError(_unreadable(path, error)) from error
    if image.get_data_dtype().kind not in "biuf":
        msg = f"{path} must hold one real number per voxel, got {image.get_data_dtype()}; convert it."
        raise ValueError(msg)
    return image


def _shape(path: Path, shape: tuple[int, ...], echo: int | None) -> tuple[int, ...]:
    trimmed = shape if len(shape) == 5 and shape[4] > 1 else shape[:4]
    if not 3 <= len(trimmed) <= 5 or max(shape[5:], default=1) > 1 or 0 in shape:
        msg = f"{path} must have axes i, j, k, volume, got shape {tuple(shape)}; split the file."
        raise ValueError(msg)
    if len(trimmed) == 5 and (echo is None or not 0 <= echo < shape[4]):
        msg = (
            f"{path} has {shape[4]} images along its fifth axis, so --echo must be 0 to {shape[4] - 1}, got "
            f"{echo}; pass --echo 0 for the shortest echo time."
        )
        raise ValueError(msg)
    i, j, k, *rest = trimmed
    return (rest[0] if rest else 1, i, j, k)


def _unreadable(path: Path, error: BaseException) -> str:
    return f"{path} must be a readable image, got '{reason_of(error)}'; it may be cut off: copy it again."
