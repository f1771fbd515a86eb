"""The 2D networks of the learned experts: slices in, sub-pixel phases along the slice axis out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from revoxel.core.compute import autocast
from revoxel.experts.phases import PhaseGrid


class Body(StrEnum):
    """Residual block of a phase network."""

    PLAIN = "plain"  # EDSR: 3x3, ReLU, 3x3
    WIDE = "wide"  # WDSR-B: 1x1 widen, ReLU, 1x1 reduce, 3x3


@dataclass(frozen=True)
class PhaseNetConfig:
    """Size of a phase network.

    Args:
        body: Kind of residual block.
        n_phases: Output samples per slice.
        n_blocks: Number of residual blocks.
        n_channels: Width.
    """

    body: Body
    n_phases: int
    n_blocks: int = 8
    n_channels: int = 32


class PhaseNet(nn.Module):
    """Residual network on the low-resolution grid; its correction starts at zero.

    Inside, slices are the rows of an image: convolutions are a tenth faster along the longer side.

    Args:
        config: Size of the network.
    """

    def __init__(self, config: PhaseNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.n_channels
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(_block(config.body, width) for _ in range(config.n_blocks))
        self.tail = nn.Conv2d(width, config.n_phases, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def draw_weights(self, generator: torch.Generator) -> None:
        """Draw all layers but the last anew, as torch does, from a generator of their own.

        Args:
            generator: On the processor.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer is not self.tail:
                bound = layer.weight[0].numel() ** -0.5
                for parameter in layer.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator)

    def forward(self, low: Tensor) -> Tensor:
        """Phases of the correction to the B-spline.

        Args:
            low: `(batch, height, n_low)`.

        Returns:
            `(batch, height, n_low * n_phases)`, float32.
        """
        features = self.head(low.mT[:, None])
        for block in self.blocks:
            features = block(features).add_(features)
        phases = self.tail(features).float()
        return phases.permute(0, 3, 2, 1).flatten(2)


def super_resolve_planes(network: PhaseNet, low: Tensor, grid: PhaseGrid) -> Tensor:
    """Correction, in the processor's fast number format, plus B-spline, in float32, on the target samples.

    Args:
        network: The phase network.
        low: `(batch, height, n_low)`, float32.
        grid: Geometry of the same `n_low`.

    Returns:
        `(batch, height, n_high)`, float32.
    """
    with autocast(low.device):
        correction = network(low)
    fine = correction + low @ grid.skip().to(low.device)
    target = grid.to_target()
    return fine if target is None else fine @ target.to(low.device)


def _block(body: Body, width: int) -> nn.Sequential:
    if body is Body.PLAIN:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )
    narrow = max(8, round(width * 0.8 / 8) * 8)
    return nn.Sequential(
        nn.Conv2d(width, 4 * width, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4 * width, narrow, 1),
        nn.Conv2d(narrow, width, 3, padding=1),
    )
