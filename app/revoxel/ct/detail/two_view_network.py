"""A small network from two X-rays to a coarse volume: image features spread along rays, fused in 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from revoxel.ct.detail.bases import BackprojectionBase, Scene
from revoxel.ct.xray.geometry import View
from revoxel.ct.xray.projector import WATER_PER_MM

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.ct.detail.lifting import XrayScene

#: The side of a volume must be divisible by this: the fusing U-Net halves it four times.
DIVISOR = 16


class TwoViewNetwork(nn.Module):
    """Correct the back-projection of two views.

    A 2D U-Net per view finds features; they are spread back along the rays, next to the back-projection and
    to each voxel's position; a 3D U-Net adds what it learned. Untrained it gives the back-projection, which
    also carries the HU level that the normalisation of both U-Nets loses.

    Args:
        scene: Voxel size, X-ray geometry and HU window.
        size: Voxels per side of the volume.
        lift_channels: Features per view.
        width: Channels of the 3D U-Net at full resolution.

    Raises:
        ValueError: If the size is not divisible by 16.
    """

    def __init__(self, scene: XrayScene, size: int = 32, *, lift_channels: int = 12, width: int = 16) -> None:
        super().__init__()
        if size % DIVISOR or size < 2 * DIVISOR:
            msg = f"size must be a multiple of {DIVISOR}, 32 at least, got {size}; change data.patch_size."
            raise ValueError(msg)
        self.around = Scene((size, size, size), scene.spacing_mm, scene.geometry)
        self.smear = BackprojectionBase(self.around, scene.window)
        image = (lift_channels, lift_channels, 2 * lift_channels, 2 * lift_channels, 32, lift_channels)
        volume = (width, width, 2 * width, 4 * width, 4 * width, width)
        self.encoders = nn.ModuleList(
            BasicUNet(2, 1, lift_channels, features=image, upsample="nontrainable") for _ in View
        )
        n_inputs = 2 * lift_channels + 1 + 3
        self.fuse = BasicUNet(3, n_inputs, 1, features=volume, upsample="nontrainable")
        nn.init.zeros_(self.fuse.final_conv.weight)
        nn.init.zeros_(self.fuse.final_conv.bias)

    def forward(self, views: Tensor) -> Tensor:
        """Estimate the volume.

        Args:
            views: `(batch, 2, 1, row, column)` in nepers, frontal first.

        Returns:
            `(batch, 1, x, y, z)` normalised.

        Raises:
            ValueError: If the views are not two of the detector's size.
        """
        # The fit of the back-projection needs more digits than half precision has.
        with torch.autocast(views.device.type, enabled=False):
            smeared = self.smear.coarse(views.float())
            images = self.around.mean_attenuation(views.float()) / WATER_PER_MM
        lifted = [
            self.around.lift(encoder(images[:, index]), view)
            for index, (view, encoder) in enumerate(zip(View, self.encoders, strict=True))
        ]
        return smeared + self.fuse(torch.cat([*lifted, smeared, _positions(smeared)], dim=1)).float()


def _positions(volume: Tensor) -> Tensor:
    """`(batch, 3, x, y, z)` coordinates from -1 to 1: what is where depends on the place in the body."""
    axes = [torch.linspace(-1, 1, side, device=volume.device) for side in volume.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return grid.expand(len(volume), -1, -1, -1, -1)
