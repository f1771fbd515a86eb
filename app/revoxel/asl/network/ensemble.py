"""Several networks as one: mean maps, and standard deviations that hold how much the networks differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from revoxel.asl.network.parts import SdFactors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

#: The maps of a network, in the order of a prediction's channels.
MAPS = ("cbf", "att", "cbf_sd", "att_sd")


class EnsembleASLNet(nn.Module):
    """Mean of networks of one form.

    Args:
        members: Networks of the same class, switches and channels.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.channels = members[0].channels
        self.sd_factors = SdFactors()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Estimate the maps.

        Args:
            image: `(batch, channel, H, W)`, channels of `AslChannels`.

        Returns:
            `cbf`, `att`, `cbf_sd`, `att_sd`.

        Raises:
            ValueError: If channels or sides do not fit.
        """
        runs = (member(image) for member in self.members)
        merged = merged_runs([torch.cat([maps[name] for name in MAPS], dim=1) for maps in runs])
        return self.sd_factors(dict(zip(MAPS, merged.split(1, dim=1), strict=True)))


def merged_runs(runs: Sequence[Tensor]) -> Tensor:
    """Mean over runs; variances add what the runs state and how much they differ.

    Args:
        runs: `(batch, 4, ...)` each, channels as in `MAPS`.

    Returns:
        `(batch, 4, ...)`.
    """
    means, sds = torch.stack(list(runs)).chunk(2, dim=2)
    variance = sds.square().mean(0) + means.var(0, correction=0)
    return torch.cat([means.mean(0), variance.sqrt()], dim=1)
