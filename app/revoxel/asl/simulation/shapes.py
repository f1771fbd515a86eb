"""Random fields and soft shapes of which phantoms are composed."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Image = NDArray[Any]


class Tissue(IntEnum):
    """What a voxel of a phantom mostly is."""

    BACKGROUND = 0
    GREY_MATTER = 1
    WHITE_MATTER = 2
    CSF = 3


class Maps(NamedTuple):
    """A phantom in the making; every map `(row, column)`."""

    cbf: Image
    att: Image
    mask: Image
    tissue: Image
    lesion: Image


def smooth_field(size: int, width: float, rng: np.random.Generator) -> Image:
    """Draw a random field of mean 0 and standard deviation 1.

    Args:
        size: Rows and columns.
        width: Standard deviation of its smoothing, voxels.
        rng: Source of randomness.

    Returns:
        `(size, size)`, float32.
    """
    noise = rng.standard_normal((size, size), dtype=np.float32)
    field = gaussian_filter(noise, width, mode="wrap", truncate=3.0)
    return (field - field.mean()) / field.std()


def disc_distance(
    size: int, centre: Sequence[float] | Image, stretch: float = 1.0, angle_rad: float = 0.0
) -> Image:
    """Distance of every voxel from a point, measured in ellipses.

    Args:
        size: Rows and columns.
        centre: Row and column of the point.
        stretch: Length of an ellipse's first axis over that of its second.
        angle_rad: Turn of the first axis, radians.

    Returns:
        `(size, size)`, voxels along the second axis, float32.
    """
    rows, columns = np.ogrid[:size, :size]
    down = (rows - centre[0]).astype(np.float32)
    right = (columns - centre[1]).astype(np.float32)
    cosine, sine = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    along = (down * cosine + right * sine) / np.float32(stretch)
    return np.hypot(along, right * cosine - down * sine)


def soft_step(values: Image, width: float) -> Image:
    """Pass from 1 where `values` are well below 0 to 0 where they are well above.

    Args:
        values: Any shape.
        width: Distance over which most of the passage happens.

    Returns:
        Same shape, 0 to 1.
    """
    return 0.5 - 0.5 * np.tanh(values / width)
