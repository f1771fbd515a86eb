"""Smooth random fields on a coarse lattice, and their values anywhere by trilinear interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NODES_PER_SIGMA = 2.0
_RIM = 6
#: Standard deviation of white noise of variance 1 filtered along one axis.
_LINE_SD = float(
    np.linalg.norm(ndimage.gaussian_filter1d(np.eye(2 * _RIM + 1)[_RIM], _NODES_PER_SIGMA, radius=_RIM))
)


def smooth_lattice(
    n_fields: int, extent_mm: Sequence[float], sigma_mm: float, rng: np.random.Generator
) -> torch.Tensor:
    """Draw Gaussian fields of unit variance.

    Args:
        n_fields: How many, independent of each other.
        extent_mm: Sides of the box that they cover.
        sigma_mm: Of the Gaussian that white noise is filtered with.
        rng: Where the noise comes from.

    Returns:
        `(1, field, a, b, c)` float32 on a lattice of half a sigma whose corners are those of the box.
    """
    nodes = [max(int(np.ceil(side / sigma_mm * _NODES_PER_SIGMA)) + 1, 2) for side in extent_mm]
    noise = rng.standard_normal((n_fields, *(count + 2 * _RIM for count in nodes)), dtype=np.float32)
    # A rim as wide as the filter keeps the variance the same at the edges as inside.
    smooth = ndimage.gaussian_filter(noise, (0, *[_NODES_PER_SIGMA] * 3), radius=(0, *[_RIM] * 3))
    inside = (slice(None), *(slice(_RIM, _RIM + count) for count in nodes))
    return torch.from_numpy(smooth[inside] / np.float32(_LINE_SD**3))[None]


def sample(maps: torch.Tensor, unit_points: torch.Tensor, padding: str = "border") -> torch.Tensor:
    """Values of maps between their nodes.

    Args:
        maps: `(1, channel, a, b, c)`.
        unit_points: `(3, i, j, k)` along a, b, c: -1 is the first node's centre, 1 the last one's.
        padding: What lies outside, as of `torch.nn.functional.grid_sample`.

    Returns:
        `(channel, i, j, k)` float32.
    """
    # grid_sample counts the last axis first.
    places = unit_points.flip(0).permute(1, 2, 3, 0)[None]
    return functional.grid_sample(maps, places, mode="bilinear", padding_mode=padding, align_corners=True)[0]


def unit_lattice(shape: Sequence[int]) -> torch.Tensor:
    """Where the voxels of a box lie in it, for `sample`.

    Args:
        shape: `(i, j, k)`.

    Returns:
        `(3, i, j, k)` float32 from -1 to 1.
    """
    axes = [torch.linspace(-1.0, 1.0, size) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def value_at(maps: torch.Tensor, unit_point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at a single point.

    Args:
        maps: As of `sample`.
        unit_point: `(3,)`.

    Returns:
        `(channel,)`.
    """
    point = torch.as_tensor(unit_point, dtype=torch.float32).reshape(3, 1, 1, 1)
    return sample(maps, point).numpy().reshape(-1).astype(np.float64)
