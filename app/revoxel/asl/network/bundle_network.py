"""The network of the ASL bundle: difference images in, four maps out, the fit in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from revoxel.asl.network.ensemble import MAPS
from revoxel.asl.network.inputs import SliceData, network_input
from revoxel.asl.network.models import build_network
from revoxel.asl.physics import AslPhysics
from revoxel.core.adoption import share_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from revoxel.asl.protocol import AslProtocol


class AslBundleNet(nn.Module):
    """An ASL network with its fit inside: one tensor in, one out, as MONAI's verifier wants.

    Its state dict is the network's: training checkpoints and bundles hold the same names.

    Args:
        model: Name of the network's class.
        arguments: Of the class.
        protocol: Delays of the channels.
        physics: Constants of the scan.
        sigma: Noise of the difference images in units of M0; estimated for every slice if not given.
        members: Networks whose mean is taken.

    Attributes:
        no_export: Why no trace of one image serves another.
    """

    no_export = "searches for each voxel's fit inside"

    def __init__(
        self,
        model: str,
        arguments: Mapping[str, Any],
        protocol: AslProtocol,
        physics: AslPhysics | None = None,
        sigma: float | None = None,
        members: int = 1,
    ) -> None:
        super().__init__()
        self.core = build_network(model, arguments, members)
        self.protocol, self.physics, self.sigma = protocol, physics or AslPhysics(), sigma
        share_names(self, "core")

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the maps of whole slices.

        Args:
            x: `(batch, channel, H, W)`, difference images over M0; 0 in all channels is outside the brain.

        Returns:
            `(batch, 4, H, W)`: CBF (ml/100g/min), ATT (ms) and their standard deviations; 0 outside.

        Raises:
            ValueError: If the channels are not those of the protocol.
        """
        if x.ndim != 4 or x.shape[1] != self.protocol.n_channels:
            msg = (
                f"x must be (batch, {self.protocol.n_channels}, H, W), got {tuple(x.shape)}: "
                f"{', '.join(self.protocol.labels)}."
            )
            raise ValueError(msg)
        mask = (x != 0).any(dim=1)
        if not bool(mask.any()):
            return x.new_zeros((len(x), len(MAPS), *x.shape[2:]))
        sigma = None if self.sigma is None else x.new_full((len(x),), self.sigma)
        # The fit needs every digit, whatever the number format of the network.
        with torch.autocast(x.device.type, enabled=False):
            image = network_input(
                SliceData(x.float(), mask, sigma),
                self.protocol,
                self.physics,
                channels=self.core.channels,  # type: ignore[arg-type]
            )
        maps = self.core(image)
        return torch.cat([maps[name] for name in MAPS], dim=1) * mask[:, None]
