"""`ResEncoder3D`: an image into feature maps of half, quarter, eighth and sixteenth resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from monai.networks.nets.resnet import ResNetBlock
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from torch import Tensor

N_STAGES = 4
_STEMS = ("joint", "grouped")
_SMALLEST_HALF_PRECISION = 4


@dataclass(frozen=True)
class EncoderSettings:
    """How the encoder is built.

    Args:
        channels: Features of the four stages, at strides 2, 4, 8 and 16.
        blocks: Residual blocks of each.
        norm_groups: Groups of its group normalisation.
        stem: `joint` mixes the pulses in the first convolution, `grouped` looks at each by itself.
        spectral_norm: Divide each convolution by its largest singular value (Miyato et al., ICLR 2018).
        checkpointing: Keep the maps between stages only and compute the others again in the backward pass:
            less memory, a third more time.

    Raises:
        ValueError: If there are not four stages, groups do not divide the channels, the stem is unknown, or
            spectral norm, whose power iteration a second pass would move on, goes with checkpointing.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    norm_groups: int = 8
    stem: Literal["joint", "grouped"] = "joint"
    spectral_norm: bool = False
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not len(self.channels) == len(self.blocks) == N_STAGES or min(self.channels + self.blocks) < 1:
            msg = f"channels and blocks must be four positive numbers, got {self.channels} and {self.blocks}."
            raise ValueError(msg)
        if self.norm_groups < 1 or any(n % self.norm_groups for n in self.channels):
            msg = f"norm_groups must divide channels {self.channels}, got {self.norm_groups}; use a divisor."
            raise ValueError(msg)
        if self.stem not in _STEMS:
            msg = f"stem must be one of {', '.join(_STEMS)}, got {self.stem!r}; choose one."
            raise ValueError(msg)
        if self.spectral_norm and self.checkpointing:
            msg = "spectral_norm and checkpointing must not go together, got both; leave one out."
            raise ValueError(msg)


class LayoutGroupNorm(nn.GroupNorm):
    """Group normalisation in the layout that torch is fast in, whichever the maps come in.

    On a processor torch takes up to 20 times longer for channels-last maps in bfloat16.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise.

        Args:
            input: `(B, C, X, Y, Z)`.

        Returns:
            The same shape, in the layout that it came in.
        """
        channels_last = input.is_contiguous(memory_format=torch.channels_last_3d)
        normalised = super().forward(input.contiguous())
        return normalised.contiguous(memory_format=torch.channels_last_3d) if channels_last else normalised


class ResEncoder3D(nn.Module):
    """A stem of stride 2 and four stages of residual blocks (He et al., CVPR 2016; MONAI's block).

    Which pulses are there enters after the stem, as a vector that starts at zero.

    Args:
        in_channels: Pulses.
        settings: How it is built.

    Raises:
        ValueError: If a grouped stem cannot divide its channels among the pulses.
    """

    def __init__(self, in_channels: int, settings: EncoderSettings) -> None:
        super().__init__()
        groups = in_channels if settings.stem == "grouped" else 1
        first = settings.channels[0]
        if first % groups:
            msg = f"channels[0] must be a multiple of {groups} for a grouped stem, got {first}; change it."
            raise ValueError(msg)
        self.settings, self.channels = settings, settings.channels
        self.stem = nn.Conv3d(in_channels, first, 3, stride=2, padding=1, groups=groups, bias=False)
        self.availability = nn.Linear(in_channels, first)
        nn.init.zeros_(self.availability.weight)
        self.stem_norm = nn.Sequential(LayoutGroupNorm(settings.norm_groups, first), nn.ReLU(inplace=True))
        before = (first, *settings.channels[:-1])
        self.stages = nn.ModuleList(
            _stage(n_in, n_out, index, settings)
            for index, (n_in, n_out) in enumerate(zip(before, settings.channels, strict=True))
        )
        if settings.spectral_norm:
            for module in self.modules():
                if isinstance(module, nn.Conv3d):
                    spectral_norm(module)

    def forward(self, image: Tensor, available: Tensor) -> dict[int, Tensor]:
        """Compute feature maps.

        Args:
            image: `(B, pulse, S, S, S)`, zeros where a pulse is missing.
            available: `(B, pulse)`, 1 where a pulse is there.

        Returns:
            `(B, channels, S/stride, S/stride, S/stride)` by stride: 2, 4, 8, 16.
        """
        there = self.availability(available)[..., None, None, None]
        maps = self.stem_norm(self.stem(image) + there)
        result = {}
        for index, stage in enumerate(self.stages):
            maps = self._in_safe_precision(stage, maps)
            result[2 ** (index + 1)] = maps
        return result

    def _in_safe_precision(self, stage: nn.Module, maps: Tensor) -> Tensor:
        # On a processor torch 2.13 fills gradients of bfloat16 convolutions on maps of 2^3 with chance.
        if maps.device.type != "cpu" or maps.shape[-1] > _SMALLEST_HALF_PRECISION:
            return self._stage(stage, maps)
        with torch.autocast("cpu", enabled=False):
            return self._stage(stage, maps.float())

    def _stage(self, stage: nn.Module, maps: Tensor) -> Tensor:
        if self.settings.checkpointing and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(stage, maps, use_reentrant=False)
            return recomputed
        return stage(maps)


def _stage(n_in: int, n_out: int, index: int, settings: EncoderSettings) -> nn.Sequential:
    first = _block(n_in, n_out, 1 if index == 0 else 2, settings)
    return nn.Sequential(
        first, *(_block(n_out, n_out, 1, settings) for _ in range(settings.blocks[index] - 1))
    )


def _block(n_in: int, n_out: int, stride: int, settings: EncoderSettings) -> ResNetBlock:
    def norm() -> LayoutGroupNorm:
        return LayoutGroupNorm(settings.norm_groups, n_out)

    shortcut = None
    if stride != 1 or n_in != n_out:
        shortcut = nn.Sequential(nn.Conv3d(n_in, n_out, 1, stride=stride, bias=False), norm())
    block = ResNetBlock(n_in, n_out, stride=stride, downsample=shortcut, norm=("group", {"num_groups": 1}))
    block.bn1, block.bn2 = norm(), norm()
    return block
