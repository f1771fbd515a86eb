"""A small network from two X-rays to a coarse volume: image features spread along rays, fused in 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from revoxel.ct.detail.bases import BackprojectionBase
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.xray.geometry import View
from revoxel.ct.xray.projector import WATER_PER_MM

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.ct.detail.bases import Scene

#: Sides of a volume must be divisible by this: the fusing U-Net halves them four times.
DIVISOR = 16


class TwoViewNetwork(nn.Module):
    """Correct the back-projection of two views.

    A 2D U-Net per view finds features; they are spread back along the rays, next to the back-projection and
    to each voxel's position; a 3D U-Net adds what it learned. Untrained it gives the back-projection.

    Args:
        window: By which volumes are normalised.
        lift_channels: Features per view.
        width: Channels of the 3D U-Net at full resolution.
    """

    def __init__(
        self, window: HounsfieldWindow | None = None, *, lift_channels: int = 12, width: int = 16
    ) -> None:
        super().__init__()
        self.window = window or HounsfieldWindow()
        image = (lift_channels, lift_channels, 2 * lift_channels, 2 * lift_channels, 32, lift_channels)
        volume = (width, width, 2 * width, 4 * width, 4 * width, width)
        self.encoders = nn.ModuleList(
            BasicUNet(2, 1, lift_channels, features=image, upsample="nontrainable") for _ in View
        )
        n_inputs = 2 * lift_channels + 1 + 3
        self.fuse = BasicUNet(3, n_inputs, 1, features=volume, upsample="nontrainable")
        nn.init.zeros_(self.fuse.final_conv.weight)
        nn.init.zeros_(self.fuse.final_conv.bias)

    def forward(self, views: Tensor, scene: Scene) -> Tensor:
        """Estimate the volume.

        Args:
            views: `(batch, 2, 1, row, column)` in nepers, frontal first.
            scene: Grid of the volume, sides divisible by 16, and geometry.

        Returns:
            `(batch, 1, x, y, z)` normalised.

        Raises:
            ValueError: If a side is not divisible by 16, or the views are not two of the detector's size.
        """
        if any(side % DIVISOR for side in scene.shape):
            msg = f"sides must be divisible by {DIVISOR}, got {scene.shape}; pad or crop the volume."
            raise ValueError(msg)
        smeared = BackprojectionBase(scene, self.window).coarse(views)
        images = scene.mean_attenuation(views) / WATER_PER_MM
        lifted = [
            scene.lift(encoder(images[:, index]), view)
            for index, (view, encoder) in enumerate(zip(View, self.encoders, strict=True))
        ]
        return smeared + self.fuse(torch.cat([*lifted, smeared, _positions(smeared)], dim=1))


def _positions(volume: Tensor) -> Tensor:
    """`(batch, 3, x, y, z)` coordinates from -1 to 1: what is where depends on the place in the body."""
    axes = [torch.linspace(-1, 1, side, device=volume.device) for side in volume.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return grid.expand(len(volume), -1, -1, -1, -1).to(volume)
