r"""`PartitionPool`: feature maps into the posterior of each part of the latent.

Spatial attention, per part and with $K$ maps: $a_k = \mathrm{softmax}_v(w_k \cdot h_v)$, and of each map the
mean feature and the mean place under it, $[\sum_v a_{kv} h_v, \sum_v a_{kv} r_v]$, beside the plain mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import torch
from monai.networks.blocks import ChannelSELayer
from torch import nn

from revoxel.semivae.network.partition import RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from revoxel.semivae.network.partition import Part

_RESIDUAL_KEY = f"{RESIDUAL}_"
_KINDS = ("attention", "gap", "se")
_STRIDES = (2, 4, 8, 16)
_LEVEL_WIDTH = 64
#: Parts that may look where another looks, and that other one.
_SHARING, _SHARED = ("loc", "shape"), "vol"


def _default_strides() -> dict[str, tuple[int, ...]]:
    return {"loc": (8, 16), "shape": (4, 8, 16)}


@dataclass(frozen=True)
class PoolSettings:
    """How maps are pooled.

    Args:
        kind: `attention`; `gap`, the plain mean; or `se`, the mean of channels that squeeze and excitation
            has weighed (Hu et al., CVPR 2018), which looks at no place.
        heads: Attention maps of each part.
        strides: Strides whose maps a part sees; 16 for parts that are not named.
        share_maps: Location and shape look where volume looks, at strides that volume sees too.
        regions: The residual part sees, besides, the means over so many regions along every side: what
            differs between heads is spread over them, and is lost in means over all; 0 for none.

    Raises:
        ValueError: If a kind or stride is unknown, there is no head, or a negative number of regions.
    """

    kind: Literal["attention", "gap", "se"] = "attention"
    heads: int = 4
    strides: Mapping[str, Sequence[int]] = field(default_factory=_default_strides)
    share_maps: bool = False
    regions: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        strides = {name: tuple(sorted(values)) for name, values in self.strides.items()}
        object.__setattr__(self, "strides", strides)
        if self.kind not in _KINDS or self.heads < 1 or self.regions < 0:
            msg = f"kind must be one of {', '.join(_KINDS)} with heads >= 1 and regions >= 0, got "
            msg += f"{self.kind!r}, {self.heads}, {self.regions}."
            raise ValueError(msg)
        bad = {name: values for name, values in strides.items() if not values or set(values) - set(_STRIDES)}
        if bad:
            msg = f"strides must be among {_STRIDES}, got {bad}; name at least one per part."
            raise ValueError(msg)

    def of(self, part: str) -> tuple[int, ...]:
        """Strides that a part sees, finest first.

        Args:
            part: Its name.
        """
        return tuple(self.strides.get(part, (16,)))


class SpatialAttention(nn.Module):
    """Means of features and places under attention maps.

    Args:
        n_channels: Features of the maps.
        heads: Attention maps.
    """

    def __init__(self, n_channels: int, heads: int) -> None:
        super().__init__()
        self.logits = nn.Linear(n_channels, heads)
        self.n_features = heads * (n_channels + 3) + n_channels

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Pool.

        Args:
            maps: `(B, C, x, y, z)`, float32.

        Returns:
            `(B, n_features)`, and the attention `(B, K, x, y, z)`, which sums to 1 over space.
        """
        voxels = maps.flatten(2).transpose(1, 2)
        attention = self.logits(voxels).softmax(dim=1).transpose(1, 2)
        seen = torch.cat((voxels, centres(maps).expand(maps.shape[0], -1, -1)), dim=2)
        pooled = torch.cat(((attention @ seen).flatten(1), voxels.mean(dim=1)), dim=1)
        return pooled, attention.unflatten(2, maps.shape[2:])


class SpatialMean(nn.Module):
    """Mean of every feature over space, perhaps weighed by squeeze and excitation.

    Args:
        n_channels: Features of the maps.
        excite: Weigh them.
    """

    def __init__(self, n_channels: int, *, excite: bool) -> None:
        super().__init__()
        self.weigh = ChannelSELayer(3, n_channels, r=4) if excite else nn.Identity()
        self.n_features = n_channels

    def forward(self, maps: Tensor) -> tuple[Tensor, None]:
        """Pool.

        Args:
            maps: `(B, C, x, y, z)`, float32.

        Returns:
            `(B, C)`, and no attention.
        """
        return self.weigh(maps).flatten(2).mean(dim=2), None


class Regional(nn.Module):
    """A pooling, and the means over a few regions in order.

    Args:
        pool: The pooling.
        n_channels: Features of the maps.
        regions: Along every side.
    """

    def __init__(self, pool: SpatialAttention | SpatialMean, n_channels: int, regions: int) -> None:
        super().__init__()
        self.pool, self.means = pool, nn.AdaptiveAvgPool3d(regions)
        self.n_features = pool.n_features + n_channels * regions**3

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pool.

        Args:
            maps: `(B, C, x, y, z)`, float32.

        Returns:
            `(B, n_features)`, and the attention, if there is one.
        """
        pooled, attention = self.pool(maps)
        return torch.cat((pooled, self.means(maps).flatten(1)), dim=1), attention


class PartitionPool(nn.Module):
    """Maps of the encoder into mean and raw log variance of each part.

    Args:
        channels: Features by stride.
        parts: Those that are pooled.
        settings: How maps are pooled.
    """

    def __init__(self, channels: Mapping[int, int], parts: Sequence[Part], settings: PoolSettings) -> None:
        super().__init__()
        self.keys = {part.name: _keys(part.name, settings) for part in parts}
        pools = {key: int(key.rpartition("_")[2]) for keys in self.keys.values() for key in keys}
        self.pools = nn.ModuleDict({key: _pool(key, channels[n], settings) for key, n in pools.items()})
        widths = {key: cast("int", pool.n_features) for key, pool in self.pools.items()}
        self.heads = nn.ModuleDict(
            {
                part.name: PosteriorHead([widths[key] for key in self.keys[part.name]], part.size)
                for part in parts
            }
        )

    def forward(self, maps: Mapping[int, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Pool.

        Args:
            maps: `(B, C, x, y, z)` by stride.

        Returns:
            `(B, 2 size)` by part, means before raw log variances; and of each part the attention
            `(B, K, x, y, z)` at its finest stride, of nothing without attention.
        """
        pooled = {key: pool(maps[int(key.rpartition("_")[2])]) for key, pool in self.pools.items()}
        raw = {name: head([pooled[key][0] for key in self.keys[name]]) for name, head in self.heads.items()}
        finest = {name: pooled[keys[0]][1] for name, keys in self.keys.items()}
        return raw, {name: attention for name, attention in finest.items() if attention is not None}


class PosteriorHead(nn.Module):
    """Pooled features of one or several strides into the posterior of a part.

    Args:
        widths: Features of each stride.
        size: Numbers of the part.
    """

    def __init__(self, widths: Sequence[int], size: int) -> None:
        super().__init__()
        several = len(widths) > 1
        self.levels = nn.ModuleList(nn.Linear(n, _LEVEL_WIDTH) if several else nn.Identity() for n in widths)
        width = _LEVEL_WIDTH * len(widths) if several else widths[0]
        self.norm = nn.LayerNorm(width)
        self.linear, self.size = nn.Linear(width, 2 * size), size

    def start_at(self, raw_logvar: float) -> None:
        """Let every image start with the same variance.

        Args:
            raw_logvar: Its unbounded logarithm.
        """
        nn.init.zeros_(self.linear.weight[self.size :])
        nn.init.constant_(self.linear.bias[self.size :], raw_logvar)

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """Combine strides.

        Args:
            pooled: `(B, width)` of each.

        Returns:
            `(B, 2 size)`.
        """
        levels = [level(one) for level, one in zip(self.levels, pooled, strict=True)]
        combined: Tensor = self.linear(self.norm(torch.cat(levels, dim=1)))
        return combined


def centres(maps: Tensor) -> Tensor:
    """Voxel centres, in [-1, 1] along every axis.

    Args:
        maps: `(B, C, x, y, z)`.

    Returns:
        `(xyz, 3)`.
    """
    axes = [(2 * torch.arange(n, device=maps.device, dtype=maps.dtype) + 1) / n - 1 for n in maps.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def _keys(part: str, settings: PoolSettings) -> tuple[str, ...]:
    """Names of the pools that a part uses, finest first."""
    shared = settings.of(_SHARED) if settings.share_maps and part in _SHARING else ()
    return tuple(f"{_SHARED if n in shared else part}_{n}" for n in settings.of(part))


def _pool(key: str, n_channels: int, settings: PoolSettings) -> nn.Module:
    pool: SpatialAttention | SpatialMean = (
        SpatialAttention(n_channels, settings.heads)
        if settings.kind == "attention"
        else SpatialMean(n_channels, excite=settings.kind == "se")
    )
    regional = settings.regions and key.startswith(_RESIDUAL_KEY)
    return Regional(pool, n_channels, settings.regions) if regional else pool
