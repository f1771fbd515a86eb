"""Blocks of the upsampler: residual blocks, and sub-pixel convolutions free of MONAI's traps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from monai.networks.blocks import ChannelSELayer, SubpixelUpsample
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Norm = Literal["none", "instance"]
_NORMS = ("none", "instance")
_BRANCH_SCALE = 0.2


class ResidualBlock(nn.Module):
    """Two convolutions and channel attention beside an identity.

    Args:
        n_channels: features in and out.
        attention: weigh channels by their means over the volume.
        norm: `none`, or `instance` as the source has it.
    """

    def __init__(self, n_channels: int, *, attention: bool, norm: Norm) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv3d(n_channels, n_channels, 3, padding=1),
            normalisation(norm, n_channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(n_channels, n_channels, 3, padding=1),
            normalisation(norm, n_channels),
            ChannelSELayer(3, n_channels, r=4) if attention else nn.Identity(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Refine features.

        Args:
            features: `(B, n_channels, X, Y, Z)`.

        Returns:
            The same shape.
        """
        return features + _BRANCH_SCALE * self.branch(features)


def normalisation(norm: Norm, n_channels: int) -> nn.Module:
    """Normalisation layer by its name.

    Args:
        norm: `none` or `instance`.
        n_channels: features.

    Raises:
        ValueError: If it is another name.
    """
    if norm not in _NORMS:
        msg = f"norm must be one of {_NORMS}, got {norm!r}; correct the config."
        raise ValueError(msg)
    return nn.InstanceNorm3d(n_channels, affine=True) if norm == "instance" else nn.Identity()


def subpixel(n_in: int, n_out: int, factor: int) -> nn.Module:
    """Sub-pixel convolution whose `factor`^3 sub-voxels start equal.

    MONAI's defaults would break that: a bias differs between sub-voxels (checkerboard), and its padded
    pooling moves the content by half a voxel and darkens three faces.

    Args:
        n_in: features in.
        n_out: features out.
        factor: ratio of the grids.
    """
    return SubpixelUpsample(3, n_in, n_out, scale_factor=factor, apply_pad_pool=False, bias=False)


def zeroed(layer: nn.Module) -> nn.Module:
    """The same layer, giving zeros until it is trained.

    Args:
        layer: any layer.
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def receptive_radius(blocks: Sequence[int]) -> int:
    """Coarse voxels on either side that the correction of a voxel depends on, without attention.

    Args:
        blocks: residual blocks of each stage, coarsest first.
    """
    # Stem or sub-pixel convolution before each stage, two convolutions per block, and the tail.
    per_stage = [(1 + 2 * n_blocks) / 2**stage for stage, n_blocks in enumerate(blocks)]
    tail = 1 / 2 ** (len(blocks) - 1)
    return math.ceil(sum(per_stage) + tail) + len(blocks) - 1
