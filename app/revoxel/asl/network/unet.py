"""The two-dimensional U-Net of the ASL networks: one encoder, one or two decoders, optional FiLM."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional

from revoxel.core.normalisation import GroupNormLeakyReLU

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

Norm = Literal["group"]
FilmSite = Literal["bottleneck", "decoder"]

_N_GROUPS = 8
_SLOPE = 0.1


class Film(nn.Module):
    """Scale and shift of every feature by a vector (Perez et al., AAAI 2018); the identity before training.

    Args:
        n_condition: Length of the vector.
        n_features: Features to modulate.
    """

    def __init__(self, n_condition: int, n_features: int) -> None:
        super().__init__()
        self.scale_and_shift = nn.Linear(n_condition, 2 * n_features)
        nn.init.zeros_(self.scale_and_shift.weight)
        nn.init.zeros_(self.scale_and_shift.bias)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Modulated features.

        Args:
            features: `(batch, n_features, H, W)`.
            condition: `(batch, n_condition)`.
        """
        scale, shift = self.scale_and_shift(condition)[..., None, None].chunk(2, dim=1)
        return features * (1 + scale) + shift


class UNet(nn.Module):
    """Features of every pixel, `features[0]` of them per decoder.

    Args:
        in_channels: Channels of the input.
        features: Features per level; each level halves the size.
        norm: `group` for GroupNorm after every convolution but those of the first level; None for none.
        dropout: Share of the features that are dropped after every level.
        n_decoders: 2 for a decoder of its own for ATT.
        film_at: Where a vector modulates the features.
        n_condition: Length of that vector.

    Raises:
        ValueError: If there is no feature, or GroupNorm does not divide them.
    """

    def __init__(  # noqa: PLR0913 - one switch of the published form each
        self,
        in_channels: int,
        features: Sequence[int],
        *,
        norm: Norm | None = None,
        dropout: float = 0.0,
        n_decoders: int = 1,
        film_at: Collection[FilmSite] = (),
        n_condition: int = 0,
    ) -> None:
        super().__init__()
        _check_features(features, norm)
        widths = [in_channels, *features]
        self.stride = 2 ** (len(features) - 1)
        self.encoder = nn.ModuleList(
            _block(n_in, n_out, norm if level else None, dropout)
            for level, (n_in, n_out) in enumerate(pairwise(widths))
        )
        self.bottom = _block(features[-1], features[-1], norm, dropout)
        self.bottom_film = Film(n_condition, features[-1]) if "bottleneck" in film_at else None
        n_film = n_condition if "decoder" in film_at else 0
        self.decoders = nn.ModuleList(_Decoder(features, norm, dropout, n_film) for _ in range(n_decoders))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Features per decoder.

        Args:
            x: `(batch, in_channels, H, W)`, sides multiples of `stride`.
            condition: `(batch, n_condition)` where FiLM is on.

        Returns:
            One `(batch, features[0], H, W)` per decoder.
        """
        levels: list[Tensor] = []
        for block in self.encoder:
            x = block(functional.avg_pool2d(x, 2) if levels else x)
            levels.append(x)
        # A residual block: the deepest features are refined, not replaced.
        deepest = levels.pop() + self.bottom(x)
        if self.bottom_film is not None:
            deepest = self.bottom_film(deepest, condition)
        return [decoder(deepest, levels, condition) for decoder in self.decoders]


class _Decoder(nn.Module):
    def __init__(self, features: Sequence[int], norm: Norm | None, dropout: float, n_film: int) -> None:
        super().__init__()
        steps = list(zip(features[:0:-1], features[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, high, 2, stride=2) for deep, high in steps)
        self.blocks = nn.ModuleList(_block(2 * high, high, norm, dropout) for _, high in steps)
        self.films = nn.ModuleList(Film(n_film, high) for _, high in steps if n_film)

    def forward(self, x: Tensor, levels: Sequence[Tensor], condition: Tensor | None) -> Tensor:
        for index, (up, block) in enumerate(zip(self.up, self.blocks, strict=True)):
            x = block(torch.cat([up(x), levels[-1 - index]], dim=1))
            if self.films:
                x = self.films[index](x, condition)
        return x


def _block(n_in: int, n_out: int, norm: Norm | None, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (n_in, n_out):
        layers.append(nn.Conv2d(width, n_out, 3, padding=1))
        if norm == "group":
            # Checkpoints number the layers, from a time when the rectifier was one of them.
            layers += [GroupNormLeakyReLU(_N_GROUPS, n_out, _SLOPE), nn.Identity()]
        else:
            layers.append(nn.LeakyReLU(_SLOPE, inplace=True))
    if dropout:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)


def _check_features(features: Sequence[int], norm: Norm | None) -> None:
    if len(features) < 2 or min(features) < 1 or norm not in (None, "group"):
        msg = f"features must be two positive numbers or more, norm None or group, got {features}, {norm!r}."
        raise ValueError(msg)
    if norm == "group" and any(n % _N_GROUPS for n in features):
        msg = f"features must be multiples of {_N_GROUPS} for GroupNorm, got {list(features)}; use 16 or 32."
        raise ValueError(msg)
