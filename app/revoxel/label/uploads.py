"""Files that a client sends: one usable NIfTI volume of bearable size, or a reason why not."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel
from nibabel.filebasedimages import ImageFileError

from revoxel.core.reasons import reason_of
from revoxel.core.volumes import read_volume
from revoxel.label.refusals import unusable

MAX_VOXELS = 1024**3 // 2
_UNREADABLE = (OSError, EOFError, ValueError, ImageFileError)


def check_volume(path: Path, max_voxels: int = MAX_VOXELS) -> None:
    """Refuse what is no volume, before it becomes one of the datastore.

    Args:
        path: The received file, under a name that ends in its true suffix.
        max_voxels: Largest volume; a few compressed kilobytes may claim any size.

    Raises:
        RefusedError: If the file cannot be used.
    """
    try:
        shape = nibabel.load(path).shape
    except _UNREADABLE as error:
        raise unusable(
            f"file must be a NIfTI image, got '{_named(error, path)}'; export it again."
        ) from error
    if math.prod(shape) > max_voxels:
        raise unusable(f"file must hold at most {max_voxels} voxels, got {shape}; crop it.")
    try:
        read_volume(path)
    except (OSError, ValueError) as error:
        raise unusable(_named(error, path)) from error


def _named(error: Exception, path: Path) -> str:
    """A reason without the place where the server keeps what it receives."""
    return reason_of(error).replace(f"{path.parent}/", "")
