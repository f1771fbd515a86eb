"""Frequency attention that keeps phase: one positive gain per channel and radial band of the spectrum."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

#: Frequency of the corner of the spectrum, cycles per voxel.
CORNER = sqrt(3) / 2


def radial_frequency(sides: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Length of the frequency vector of every coefficient of `rfftn`.

    Args:
        sides: Of the volume, in voxels.
        device: Where the result lies.

    Returns:
        `(X, Y, Z // 2 + 1)`, cycles per voxel, from 0 to at most `CORNER`.
    """
    axes = [torch.fft.fftfreq(side, device=device) for side in sides[:-1]]
    axes.append(torch.fft.rfftfreq(sides[-1], device=device))
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()


class RadialBandGate(nn.Module):
    r"""Weigh each channel's spectrum by frequency: $y = F^{-1}\,g(|f|)\,F x$ with $g = 2\,\sigma(w) > 0$.

    A real gain that depends on $|f|$ alone is symmetric, so the result is exactly real and nothing moves.
    Between the centres of the bands $g$ is linear; zero weights are the identity.

    Args:
        channels: Of the features.
        bands: Knots of the gain between frequency 0 and the corner of the spectrum.

    Raises:
        ValueError: If there are fewer than two bands.
    """

    def __init__(self, channels: int, bands: int = 8) -> None:
        super().__init__()
        if bands < 2:
            msg = f"bands must be >= 2, got {bands}; give one knot for each end of the spectrum at least."
            raise ValueError(msg)
        self.weight = nn.Parameter(torch.zeros(channels, bands))

    def forward(self, features: Tensor) -> Tensor:
        """Weigh the frequencies of a batch.

        Args:
            features: `(B, C, X, Y, Z)`, any sides.

        Returns:
            The same shape and number format.
        """
        # Half precision has no FFT on most devices, and no room for the large zero frequency.
        with torch.autocast(features.device.type, enabled=False):
            spectrum = torch.fft.rfftn(features.float(), dim=(-3, -2, -1))
            change = spectrum * (self._gain(features.shape[-3:]) - 1)
            weighed = torch.fft.irfftn(change, s=features.shape[-3:], dim=(-3, -2, -1))
        return features + weighed.to(features.dtype)

    def _gain(self, sides: Sequence[int]) -> Tensor:
        """`(C, X, Y, Z // 2 + 1)`."""
        n_steps = self.weight.shape[1] - 1
        position = radial_frequency(sides, self.weight.device) * (n_steps / CORNER)
        lower = position.floor().long().clamp(max=n_steps - 1)
        knots = 2 * torch.sigmoid(self.weight.float())
        return torch.lerp(knots[:, lower], knots[:, lower + 1], position - lower)
