"""Gaussian blur of volumes, and smooth random errors made by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.layers import GaussianFilter
from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_REACH_SIGMAS = 4


def blurred(volume: Tensor, sigma_voxels: Sequence[float]) -> Tensor:
    """Blur by a Gaussian, the edge repeated outwards: a zero is not air.

    Args:
        volume: `(batch, channel, x, y, z)`.
        sigma_voxels: Standard deviation along x, y, z.

    Returns:
        The same shape.
    """
    sides = volume.shape[2:]
    reach = [
        min(int(_REACH_SIGMAS * sigma) + 1, side - 1) for sigma, side in zip(sigma_voxels, sides, strict=True)
    ]
    padded = pad(volume, [reach[axis] for axis in (2, 2, 1, 1, 0, 0)], mode="replicate")
    result = GaussianFilter(3, list(sigma_voxels)).to(volume.device)(padded)
    x, y, z = (slice(width, width + side) for width, side in zip(reach, sides, strict=True))
    return result[:, :, x, y, z]


def smooth_error(shape: Sequence[int], sigma_voxels: Sequence[float], rms: float, seed: int) -> Tensor:
    """Draw a smooth random field.

    Args:
        shape: Voxels along x, y, z.
        sigma_voxels: Standard deviation of the blur that makes it smooth.
        rms: Its root mean square.
        seed: The same seed gives the same field.

    Returns:
        `(1, 1, x, y, z)` float32 in the units of `rms`.
    """
    noise = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))
    field = blurred(noise, sigma_voxels)
    return field * (rms / field.square().mean().sqrt())
