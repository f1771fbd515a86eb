"""`SpatialBroadcastDecoder3D`: a latent at every voxel of a small grid, beside its place, grown to an image.

Source: Watters et al., "Spatial Broadcast Decoder", 2019 (arXiv:1901.07017).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from monai.networks.utils import pixelshuffle
from torch import nn
from torch.nn import functional

from revoxel.semivae.network.pooling import centres

if TYPE_CHECKING:
    from torch import Tensor

_LAST = ("full", "subpixel")
_OUTPUT_GAIN = 0.1
# In z-scores. Heads differ by a few tenths, a tumour by several: unbounded, it would rule every score.
_MOST_DEVIATION = 1.0


@dataclass(frozen=True)
class DecoderSettings:
    """How the decoder is built.

    Args:
        grid: Side of the grid that the latent is repeated on; the image is a power of two larger. None: a
            sixteenth of the image, or an eighth of one below 64.
        channels: Features of the grid and after each doubling.
        last: `full` ends with two convolutions on the image's grid; `subpixel` computes the last doubling on
            the grid before and rearranges channels into voxels (Shi et al., CVPR 2016), in a quarter of the
            time.
        per_modality: A decoder of its own for every pulse.
        auxiliary_residual: A second decoder, to half resolution and from the residual part alone.
        template: Add an image of weights: the latent then tells what differs from it.
        template_modes: So many images of half the resolution are added too, each times a combination of the
            latent, and the residual part sees how much of each an image has: a linear autoencoder, which a
            training can start at principal components.

    Raises:
        ValueError: If an argument is none of these.
    """

    grid: int | None = None
    channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    last: Literal["full", "subpixel"] = "full"
    per_modality: bool = False
    auxiliary_residual: bool = False
    template: bool = False
    template_modes: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.last not in _LAST:
            msg = f"last must be one of {', '.join(_LAST)}, got {self.last!r}; choose one."
            raise ValueError(msg)
        if len(self.channels) < 2 or min(self.channels) < 1:
            msg = f"channels must be positive numbers, one more than doublings, got {self.channels}."
            raise ValueError(msg)
        if self.template_modes < 0 or (self.template_modes and not self.template):
            msg = (
                f"template_modes must be 0 without a template, got {self.template_modes}; set template: true."
            )
            raise ValueError(msg)

    def grid_of(self, spatial_size: int) -> int:
        """Side of the grid for an image.

        Args:
            spatial_size: Side of the image.

        Raises:
            ValueError: If the image is not as many doublings larger as there are channels for.
        """
        grid = self.grid or spatial_size // (16 if spatial_size >= 64 else 8)
        n_doublings = len(self.channels) - 1
        if grid * 2**n_doublings != spatial_size:
            msg = (
                f"channels must be log2({spatial_size} / grid {grid}) + 1 numbers, got {len(self.channels)}: "
                f"{self.channels}; change the grid or the channels."
            )
            raise ValueError(msg)
        return grid


class SpatialBroadcastDecoder3D(nn.Module):
    """Latent into image, with a linear output: z-scores have no bound.

    Args:
        z_dim: Numbers of the latent.
        grid: Side of the first grid.
        channels: Features of the grid and after each doubling.
        out_channels: Pulses.
        last: How the last doubling is computed.
    """

    def __init__(
        self,
        z_dim: int,
        grid: int,
        channels: tuple[int, ...],
        out_channels: int,
        last: Literal["full", "subpixel"] = "full",
    ) -> None:
        super().__init__()
        self.grid = grid
        # A 1x1x1 convolution of the repeated latent and the places is the sum of these two.
        self.latent, self.place = nn.Linear(z_dim, channels[0]), nn.Linear(3, channels[0], bias=False)
        steps = list(pairwise(channels))
        full = steps if last == "full" else steps[:-1]
        self.blocks = nn.ModuleList(_doubling(n_in, n_out) for n_in, n_out in full)
        self.output: nn.Module = (
            nn.Conv3d(channels[-1], out_channels, 3, padding=1)
            if last == "full"
            else SubpixelOutput(channels[-2], out_channels)
        )
        self.apply(_initialise)
        _shrink(self.output)

    def forward(self, z: Tensor) -> Tensor:
        """Decode.

        Args:
            z: `(B, z_dim)`.

        Returns:
            `(B, out_channels, S, S, S)`.
        """
        features = self._broadcast(z)
        for block in self.blocks:
            features = block(features)
        image: Tensor = self.output(features)
        return image

    def _broadcast(self, z: Tensor) -> Tensor:
        latent = self.latent(z)[..., None, None, None]
        grid = latent.new_empty((1, 1, self.grid, self.grid, self.grid))
        places = self.place(centres(grid)).transpose(0, 1).reshape(1, -1, self.grid, self.grid, self.grid)
        layout = torch.channels_last_3d
        return torch.relu(latent + places).contiguous(memory_format=layout)


class SubpixelOutput(nn.Module):
    """An image of twice the resolution, its voxels computed as channels.

    Args:
        n_channels: Features before.
        out_channels: Pulses.
    """

    def __init__(self, n_channels: int, out_channels: int) -> None:
        super().__init__()
        self.voxels = nn.Conv3d(n_channels, 8 * out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Compute.

        Args:
            features: `(B, n_channels, X, Y, Z)`.

        Returns:
            `(B, out_channels, 2X, 2Y, 2Z)`.
        """
        image: Tensor = pixelshuffle(self.voxels(features), spatial_dims=3, scale_factor=2)
        return image


class PerModalityDecoder(nn.Module):
    """One decoder for every pulse.

    Args:
        decoders: In the order of the pulses; each gives one channel.
    """

    def __init__(self, decoders: list[SpatialBroadcastDecoder3D]) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(decoders)

    def forward(self, z: Tensor) -> Tensor:
        """Decode.

        Args:
            z: `(B, z_dim)`.

        Returns:
            `(B, pulse, S, S, S)`.
        """
        return torch.cat([decoder(z) for decoder in self.decoders], dim=1)


class AroundTemplate(nn.Module):
    """What a decoder gives, added to an image of weights and to some modes of it.

    Args:
        decoder: Of the difference.
        z_dim: Numbers of the latent.
        out_channels: Pulses.
        spatial_size: Side of the image.
        n_modes: Images that combinations of the latent are multiplied with.
    """

    def __init__(
        self, decoder: nn.Module, z_dim: int, out_channels: int, spatial_size: int, n_modes: int
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.template = nn.Parameter(torch.zeros(1, out_channels, *3 * (spatial_size,)))
        self.amplitudes, self.modes, self.gains = None, None, None
        if n_modes:
            self.amplitudes = nn.Linear(z_dim, n_modes)
            self.modes = nn.Parameter(torch.zeros(n_modes, out_channels, *3 * (spatial_size // 2,)))
            self.gains = nn.Parameter(torch.ones(n_modes))

    def forward(self, z: Tensor) -> Tensor:
        """Decode.

        Args:
            z: `(B, z_dim)`.

        Returns:
            `(B, out_channels, S, S, S)`.
        """
        image: Tensor = self.decoder(z) + self.template
        if self.amplitudes is None:
            return image
        coarse = torch.einsum("bm,mcxyz->bcxyz", self.amplitudes(z), self.modes)
        return image + functional.interpolate(coarse, scale_factor=2, mode="trilinear")

    def scores(self, image: Tensor, available: Tensor) -> Tensor:
        """How much of each mode an image has.

        Args:
            image: `(B, out_channels, S, S, S)`, z-scores.
            available: `(B, out_channels)`; a pulse that is missing is taken for the template.

        Returns:
            `(B, n_modes)`, in float32 outside autocast; of no mode without modes.
        """
        if self.modes is None or self.gains is None:
            return image.new_zeros((len(image), 0))
        deviation = functional.avg_pool3d(image - self.template, 2).clamp(-_MOST_DEVIATION, _MOST_DEVIATION)
        seen = deviation * available[:, :, None, None, None]
        return self.gains * (seen.flatten(1) @ self.modes.flatten(1).T)

    def start_at(self, template: Tensor, modes: Tensor, spread: Tensor, first: int) -> None:
        """Become a linear autoencoder; the decoder around it starts at almost nothing.

        Args:
            template: `(out_channels, S, S, S)`.
            modes: `(n_modes, out_channels, S/2, S/2, S/2)`, orthonormal.
            spread: `(n_modes,)`, standard deviation of the projections on each.
            first: Number of the latent that is the first mode's score; the others follow it.
        """
        with torch.no_grad():
            self.template.copy_(template[None])
            self.modes.copy_(modes)  # type: ignore[union-attr]
            self.gains.copy_(1 / spread)  # type: ignore[union-attr]
            self.amplitudes.weight.zero_()  # type: ignore[union-attr]
            self.amplitudes.weight[:, first : first + len(spread)] = torch.diag(spread)  # type: ignore[union-attr]
            self.amplitudes.bias.zero_()  # type: ignore[union-attr]
        _shrink(self.decoder)


def build_decoder(z_dim: int, spatial_size: int, out_channels: int, settings: DecoderSettings) -> nn.Module:
    """The decoder of the whole latent.

    Args:
        z_dim: Numbers of the latent.
        spatial_size: Side of the image.
        out_channels: Pulses.
        settings: How it is built.

    Raises:
        ValueError: If the channels do not fit the size.
    """
    grid = settings.grid_of(spatial_size)

    def one(n_out: int) -> SpatialBroadcastDecoder3D:
        return SpatialBroadcastDecoder3D(z_dim, grid, settings.channels, n_out, settings.last)

    split = settings.per_modality
    decoder = PerModalityDecoder([one(1) for _ in range(out_channels)]) if split else one(out_channels)
    if not settings.template:
        return decoder
    return AroundTemplate(decoder, z_dim, out_channels, spatial_size, settings.template_modes)


def build_auxiliary_decoder(
    size: int, spatial_size: int, out_channels: int, settings: DecoderSettings
) -> SpatialBroadcastDecoder3D:
    """The decoder of the residual part alone, to half resolution.

    Args:
        size: Numbers of the residual part.
        spatial_size: Side of the whole image.
        out_channels: Pulses.
        settings: Of the whole decoder.

    Raises:
        ValueError: If the whole decoder has one doubling only.
    """
    if len(settings.channels) < 3:
        msg = f"channels must have 3 numbers for an auxiliary decoder, got {settings.channels}; add some."
        raise ValueError(msg)
    grid = settings.grid_of(spatial_size)
    return SpatialBroadcastDecoder3D(size, grid, settings.channels[:-1], out_channels, settings.last)


def _doubling(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="trilinear"),
        nn.Conv3d(n_in, n_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    """Keep the variance of features from block to block: there is no normalisation that would."""
    if isinstance(module, nn.Conv3d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _shrink(output: nn.Module) -> None:
    """Start near zero, the mean of a z-score; at zero the blocks before would get no gradient."""
    with torch.no_grad():
        for module in output.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.mul_(_OUTPUT_GAIN)
