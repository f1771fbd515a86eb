"""The source's voxel-wise model: a perceptron on the curves of one voxel and a few numbers of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from revoxel.asl.network.channels import AslChannels, Plane
from revoxel.asl.network.heads import MapHeads
from revoxel.asl.network.parts import PHYSICS_SCALES, Normalization, SdFactors, normalised, standard_maps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_CURVE_FEATURES = {
    "mean": lambda curve: curve.mean(1, keepdim=True),
    "std": lambda curve: curve.std(1, keepdim=True, correction=0),
    "peak": lambda curve: curve.amax(1, keepdim=True),
}


class VoxelASLNet(nn.Module):
    """Perceptron on a few numbers of one voxel's curves: the source's voxel-wise model.

    Args:
        in_channels: Difference signals.
        features: `mean`, `std` and `peak` of the PCASL and of the VSASL half of the curve, `t1_blood` as
            given; beside the curves themselves.
        hidden: Widths of the layers.
        dropout: Share of the features that are dropped.
        normalization: See `normalised`.
        signal_scale: Factor of `global_scale`.

    Raises:
        ValueError: If a feature is unknown.
    """

    FEATURES = ("mean", "std", "peak", "t1_blood")

    def __init__(
        self,
        in_channels: int,
        features: Sequence[str] = FEATURES,
        hidden: Sequence[int] = (128, 64),
        *,
        dropout: float = 0.0,
        normalization: Normalization = "global_scale",
        signal_scale: float = 1000.0,
    ) -> None:
        super().__init__()
        unknown = sorted(set(features) - set(self.FEATURES))
        if unknown:
            msg = f"features must be among {', '.join(self.FEATURES)}, got {unknown}; correct the config."
            raise ValueError(msg)
        self.channels = AslChannels(in_channels)
        self.features = tuple(features)
        self.normalization = normalization
        self.signal_scale = signal_scale
        n_inputs = in_channels + sum(1 if name == "t1_blood" else 2 for name in features)
        widths = [n_inputs, *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, 1), nn.LeakyReLU(0.1), nn.Dropout2d(dropout)]
        self.layers = nn.Sequential(*layers)
        self.heads = MapHeads(widths[-1], "shared")
        self.sd_factors = SdFactors()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Estimate the maps, every voxel by itself.

        Args:
            image: `(batch, channel, H, W)`, channels of `AslChannels`.

        Returns:
            `cbf`, `att`, `cbf_sd`, `att_sd`.

        Raises:
            ValueError: If the channels do not fit.
        """
        signals, planes = self.channels.split(image)
        curves = normalised(signals, self.normalization, self.signal_scale)
        half = max(curves.shape[1] // 2, 1)
        halves = (curves[:, :half], curves[:, -half:])
        shown = [curves]
        for name in self.features:
            if name == "t1_blood":
                centre, spread = PHYSICS_SCALES[Plane.t1_blood_ms]
                shown.append((planes[Plane.t1_blood_ms] - centre) / spread)
            else:
                shown += [_CURVE_FEATURES[name](part) for part in halves]
        raw = self.heads([self.layers(torch.cat(shown, dim=1))])
        return self.sd_factors(standard_maps(raw.float(), clip=not self.training))
