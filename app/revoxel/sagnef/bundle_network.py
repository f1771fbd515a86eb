"""The network of the inference bundles: one tensor in, one out, as MONAI's verifier and exporters want."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from revoxel.core.adoption import share_names
from revoxel.sagnef.network import SAGNEF

if TYPE_CHECKING:
    from torch import Tensor


class SagnefBundleNet(nn.Module):
    """SAGNEF with its outputs as channels: fused volume, weights and, with a residual head, the residual.

    Windows are stitched channel by channel; mixing the stitched weights with the experts and adding the
    stitched residual then gives a volume whose weights are the ones reported.

    Its state dict is the gate's: training checkpoints and bundles hold the same names.

    Args:
        in_ch: channels of the input: profile planes, the scan, the experts.
        n_experts: number of experts, the last channels of the input.
        wf: width of the gate.
        disagreement: whether the gate sees the spread of the experts.
        residual: whether a bounded residual is added.
        n_profile: number of profile planes.
        modulation: whether the profile planes modulate the gate's features.
    """

    def __init__(  # noqa: PLR0913 - the gate's arguments
        self,
        in_ch: int,
        n_experts: int,
        wf: int = 24,
        disagreement: bool = False,
        residual: bool = False,
        n_profile: int = 0,
        *,
        modulation: bool = False,
    ) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.residual = residual
        self.gate = SAGNEF(in_ch, n_experts, wf, disagreement, residual, n_profile, modulation=modulation)
        share_names(self, "gate")

    def forward(self, x: Tensor) -> Tensor:
        """Run the gate.

        Args:
            x: `(batch, in_ch, x, y, z)` on the shared intensity map.

        Returns:
            `(batch, 1 + n_experts [+ 1], x, y, z)`.
        """
        fused, weights = self.gate(x)
        if not self.residual:
            return torch.cat([fused, weights], dim=1)
        mixture = (weights * x[:, x.shape[1] - self.n_experts :]).sum(dim=1, keepdim=True)
        return torch.cat([fused, weights, fused - mixture], dim=1)
