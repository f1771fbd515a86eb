"""From a U-Net's features to four maps, and from the image as a whole to the vectors that steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from revoxel.asl.network.unet import Film

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Heads = Literal["shared", "split_heads", "split_decoder", "att_attention"]
HEADS = ("shared", "split_heads", "split_decoder", "att_attention")

_TINY = 1e-6
# Before training a voxel has 0.86 of its own average.
_OWN_LOGIT = 5.0


class MapHeads(nn.Module):
    """CBF, ATT and the logarithms of their standard deviations from features; all 0 before training.

    Args:
        n_features: Features per decoder.
        heads: `shared`: one linear layer; `split_heads`: a small head each; `split_decoder`: one linear layer
            on each of two decoders; `att_attention`: as `split_heads`, and ATT looks where it wants to.
        n_att_condition: Length of a vector that modulates the features of ATT alone; 0 for none.

    Raises:
        ValueError: If `heads` is unknown.
    """

    def __init__(self, n_features: int, heads: Heads, n_att_condition: int = 0) -> None:
        super().__init__()
        if heads not in HEADS:
            msg = f"heads must be one of {', '.join(HEADS)}, got {heads!r}; correct the config."
            raise ValueError(msg)
        small = heads in {"split_heads", "att_attention"}
        self.cbf = _head(n_features, small)
        self.att = _head(n_features, small)
        self.attention = nn.Conv2d(n_features, n_features, 1) if heads == "att_attention" else None
        self.att_film = Film(n_att_condition, n_features) if n_att_condition else None

    def forward(self, features: Sequence[Tensor], att_condition: Tensor | None = None) -> Tensor:
        """Raw maps.

        Args:
            features: one `(batch, n_features, H, W)` per decoder.
            att_condition: `(batch, n_att_condition)`.

        Returns:
            `(batch, 4, H, W)`: CBF, ATT, log sd of CBF, log sd of ATT.
        """
        for_cbf, for_att = features[0], features[-1]
        if self.attention is not None:
            for_att = for_att * torch.sigmoid(self.attention(for_att))
        if self.att_film is not None:
            for_att = self.att_film(for_att, att_condition)
        cbf, att = self.cbf(for_cbf), self.att(for_att)
        return torch.cat([cbf[:, :1], att[:, :1], cbf[:, 1:], att[:, 1:]], dim=1)


def _head(n_features: int, small: bool) -> nn.Sequential:
    last = nn.Conv2d(n_features, 2, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    before = [nn.Conv2d(n_features, n_features, 3, padding=1), nn.LeakyReLU(0.1)] if small else []
    return nn.Sequential(*before, last)


class FitPooling(nn.Module):
    """Average of the fit over a neighbourhood, with weights of its own for every voxel and map.

    The kernel-predicting network of Bako (SIGGRAPH 2017): an average of fits scales with them, and is
    learned in a fraction of the steps that a sum of features takes.

    Args:
        n_features: Features per decoder.
        side: Side of the neighbourhood in pixels, odd.

    Raises:
        ValueError: If the side is even.
    """

    def __init__(self, n_features: int, side: int) -> None:
        super().__init__()
        if side % 2 == 0:
            msg = f"pooling must be an odd number of pixels, or 0 for none, got {side}; use 5."
            raise ValueError(msg)
        self.side = side
        self.logits = nn.Conv2d(n_features, 2 * side**2, 1)
        nn.init.zeros_(self.logits.weight)
        start = torch.zeros(2, side**2)
        start[:, side**2 // 2] = _OWN_LOGIT
        self.logits.bias = nn.Parameter(start.flatten())

    def forward(
        self, features: Sequence[Tensor], fits: tuple[Tensor, Tensor], inside: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Averaged CBF and ATT.

        Args:
            features: one `(batch, n_features, H, W)` per decoder.
            fits: CBF and ATT, `(batch, 1, H, W)` each.
            inside: `(batch, 1, H, W)`, voxels that were fitted; no other enters an average.
        """
        logits = self.logits(features[0]).float()
        known = self._neighbours(inside.to(logits))
        cbf, att = (
            self._average(part, fit, known) for part, fit in zip(logits.chunk(2, dim=1), fits, strict=True)
        )
        return cbf, att

    def _average(self, logits: Tensor, fit: Tensor, known: Tensor) -> Tensor:
        weights = torch.softmax(logits, dim=1) * known
        sums = (weights * self._neighbours(fit)).sum(1, keepdim=True)
        return sums / weights.sum(1, keepdim=True).clamp_min(_TINY)

    def _neighbours(self, values: Tensor) -> Tensor:
        around = nn.functional.unfold(values, self.side, padding=self.side // 2)
        return around.unflatten(-1, values.shape[-2:])


def n_statistics(n_signal: int) -> int:
    """Length of `amplitude_statistics`."""
    return 3 * n_signal + 4


def amplitude_statistics(signals: Tensor) -> Tensor:
    """How strong an image is as a whole: the FiLM vector of the source.

    Mean, standard deviation and maximum of every channel, mean power, ratio of the first half of the channels
    (PCASL) to the second (VSASL), and the mean delay index of either half.

    Args:
        signals: `(batch, n_signal, H, W)`, normalised.

    Returns:
        `(batch, 3 n_signal + 4)`.
    """
    pixels = signals.flatten(2)
    mean, half = pixels.mean(-1), max(signals.shape[1] // 2, 1)
    first, second = mean[:, :half].abs(), mean[:, -half:].abs()
    ratio = first.sum(1) / (second.sum(1) + _TINY)
    scalars = torch.stack([pixels.square().mean((1, 2)), ratio, _centroid(first), _centroid(second)], dim=1)
    return torch.cat([mean, pixels.std(-1), pixels.amax(-1), scalars], dim=1)


def n_timing_features(n_signal: int) -> int:
    """Length of `timing_features`."""
    return n_signal + 2


def timing_features(signals: Tensor) -> Tensor:
    """When the blood arrives in an image as a whole, whatever its amplitude.

    Args:
        signals: `(batch, n_signal, H, W)`.

    Returns:
        `(batch, n_signal + 2)`: share of every channel in the sum of its half (PCASL, VSASL), and the mean
        delay index of either half.
    """
    mean, half = signals.flatten(2).mean(-1).abs(), max(signals.shape[1] // 2, 1)
    first, second = mean[:, :half], mean[:, half:]
    shares = [part / (part.sum(1, keepdim=True) + _TINY) for part in (first, second)]
    return torch.cat([*shares, torch.stack([_centroid(first), _centroid(mean[:, -half:])], dim=1)], dim=1)


def _centroid(curve: Tensor) -> Tensor:
    index = torch.arange(curve.shape[1], device=curve.device, dtype=curve.dtype) / max(curve.shape[1] - 1, 1)
    return (curve * index).sum(1) / (curve.sum(1) + _TINY)
