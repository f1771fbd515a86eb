"""The gate: a light 3D U-Net that gives every voxel one convex weight per super-resolution expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from revoxel.core.convolution import Conv3x3x3, DoublingConv3d
from revoxel.core.normalisation import GroupNormLeakyReLU
from revoxel.sagnef.mixtures import mix_experts, spread_of_experts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_N_GROUPS = 8
_STRIDE = 4
_MIN_SIDE = 8
_MIN_START_WEIGHT = 0.02
# Centre and spread of the profile planes over usual scans: a percent of width must not drown in the planes.
_TYPICAL_PROFILE = ((0.38, 0.06), (0.38, 0.06), (0.9, 0.2))
_N_HIDDEN = 16


class SAGNEF(nn.Module):
    r"""Spatially-adaptive gated nonlinear ensemble fusion.

    $\hat x(r) = \sum_m w_m(r)\,x_m(r)$ with $w = \mathrm{softmax}(\mathrm{gate}(x))$, and with `residual`
    $\hat x(r) \mathrel{+}= \tanh(\rho(r))\,(\max_m x_m(r) - \min_m x_m(r))$: where the experts agree, the
    result is theirs.

    Channels of the input: `[profile planes] + [low resolution?] + experts`. The profile planes are
    constant over the volume: estimated width / separation, assumed width / separation, confidence 0 to 1.

    Args:
        in_ch: Channels of the input, all of them.
        n_experts: Experts, the last channels of the input.
        wf: Width of the first level, a multiple of 8; the deeper levels have two and four times as many.
        disagreement: Add the experts' range per voxel as one more channel, computed inside.
        residual: Add the bounded residual; without it the fusion is strictly convex.
        n_profile: Profile planes at the front of the input.
        modulation: Let the profile planes scale and shift the features of the deepest and the last level too:
            GroupNorm takes most of a constant plane away (FiLM; Perez et al., AAAI 2018). Needs three planes.

    Raises:
        ValueError: If `wf` is no positive multiple of 8 or the channel counts do not fit together.

    Examples:
        >>> fused, weights = SAGNEF(in_ch=5, n_experts=4, wf=8)(torch.rand(1, 5, 16, 16, 16))
        >>> fused.shape[1], weights.shape[1]
        (1, 4)
    """

    def __init__(  # noqa: PLR0913 - one switch of the published form each
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
        _check_channels(in_ch, n_experts, wf, n_profile)
        _check_modulation(modulation, n_profile)
        self.in_ch = in_ch
        self.n_experts = n_experts
        self.n_profile = n_profile
        self.disagreement = disagreement
        self.residual = residual
        self.modulation = modulation
        self.unet = _UNet(in_ch + int(disagreement), wf, modulation)
        self.head = nn.Conv3d(wf, n_experts + int(residual), kernel_size=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse the experts.

        Args:
            x: `(batch, in_ch, z, y, x)`, sides >= 8, one shared intensity map. While tracing or compiling
                nothing is checked or padded, and the sides must be multiples of 4.

        Returns:
            The fused volume `(batch, 1, z, y, x)` and the weights `(batch, n_experts, z, y, x)`, both at
            least float32.

        Raises:
            ValueError: If the rank, the channel count or a side does not fit.
        """
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self._fuse(x)
        self._check_input(x)
        depth, height, width = x.shape[2:]
        fused, weights = self._fuse(_pad_to_stride(x))
        return fused[..., :depth, :height, :width], weights[..., :depth, :height, :width]

    @torch.no_grad()
    def set_simplex_start(self, weights: Sequence[float]) -> None:
        """Start the gate at one global vector of weights, without a residual.

        Weights below 0.02 are raised to it, so that every expert keeps a gradient, and all are renormalised.

        Args:
            weights: One non-negative number per expert, in the order of the channels.

        Raises:
            ValueError: If the count is wrong or the numbers are no point of the simplex.
        """
        start = torch.as_tensor(weights, dtype=torch.float32)
        if start.shape != (self.n_experts,) or bool((start < 0).any()) or abs(float(start.sum()) - 1) > 1e-3:
            msg = (
                f"weights must be {self.n_experts} non-negative numbers that sum to 1, got {list(weights)}; "
                "fit them with revoxel.sagnef.simplex."
            )
            raise ValueError(msg)
        start = start.clamp_min(_MIN_START_WEIGHT)
        self.head.weight.zero_()
        bias = self.head.bias
        if bias is not None:
            bias.zero_()
            bias[: self.n_experts] = (start / start.sum()).log()

    def _fuse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Half precision would cost the mixture 8 bits of intensity, so only the U-Net runs under autocast.
        experts = x[:, self.in_ch - self.n_experts :].to(torch.promote_types(x.dtype, torch.float32))
        spread = spread_of_experts(experts)
        features = torch.cat([x, spread.to(x.dtype)], dim=1) if self.disagreement else x
        logits = self.head(self.unet(features, x[:, : self.n_profile, 0, 0, 0])).to(experts.dtype)
        weights = torch.softmax(logits[:, : self.n_experts], dim=1)
        fused = mix_experts(experts, weights)
        if self.residual:
            fused = fused + torch.tanh(logits[:, self.n_experts :]) * spread
        return fused, weights

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 5 or x.shape[1] != self.in_ch:
            msg = (
                f"x must be (batch, {self.in_ch}, z, y, x), got {tuple(x.shape)}; "
                "stack [profile planes] + [low resolution] + experts in the order of the bundle."
            )
            raise ValueError(msg)
        if min(x.shape[2:]) < _MIN_SIDE:
            msg = f"every side of x must be >= {_MIN_SIDE} voxels, got {tuple(x.shape[2:])}; pad the volume."
            raise ValueError(msg)


class _UNet(nn.Module):
    """Two levels down, two up, skips by concatenation; the result has `wf` channels at full size."""

    def __init__(self, in_channels: int, wf: int, modulation: bool) -> None:
        super().__init__()
        self.encode_1 = _conv_block(in_channels, wf)
        self.down_1 = nn.Conv3d(wf, wf, kernel_size=2, stride=2)
        self.encode_2 = _conv_block(wf, 2 * wf)
        self.down_2 = nn.Conv3d(2 * wf, 2 * wf, kernel_size=2, stride=2)
        self.bottleneck = _conv_block(2 * wf, 4 * wf)
        self.up_2 = DoublingConv3d(4 * wf, 2 * wf)
        self.decode_2 = _conv_block(4 * wf, 2 * wf)
        self.up_1 = DoublingConv3d(2 * wf, wf)
        self.decode_1 = _conv_block(2 * wf, wf)
        self.modulate_quarter = _Modulation(4 * wf) if modulation else None
        self.modulate_full = _Modulation(wf) if modulation else None

    def forward(self, x: Tensor, profile: Tensor) -> Tensor:
        """Features of every voxel.

        Args:
            x: `(batch, in_channels, z, y, x)`, sides multiples of 4.
            profile: `(batch, n_profile)`, values of the profile planes.

        Returns:
            `(batch, wf, z, y, x)`.
        """
        full = self.encode_1(x)
        half = self.encode_2(self.down_1(full))
        quarter = self.bottleneck(self.down_2(half))
        if self.modulate_quarter is not None:
            quarter = self.modulate_quarter(quarter, profile)
        half = self.decode_2(torch.cat([self.up_2(quarter), half], dim=1))
        features: Tensor = self.decode_1(torch.cat([self.up_1(half), full], dim=1))
        return features if self.modulate_full is None else self.modulate_full(features, profile)


class _Modulation(nn.Module):
    """Scale and shift of every feature as a function of the slice profile; the identity before training."""

    centre: Tensor
    spread: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        centre, spread = torch.tensor(_TYPICAL_PROFILE).T
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("spread", spread, persistent=False)
        self.hidden = nn.Linear(len(_TYPICAL_PROFILE), _N_HIDDEN)
        self.scale_and_shift = nn.Linear(_N_HIDDEN, 2 * n_channels)
        nn.init.zeros_(self.scale_and_shift.weight)
        nn.init.zeros_(self.scale_and_shift.bias)

    def forward(self, features: Tensor, profile: Tensor) -> Tensor:
        """Scaled and shifted features.

        Args:
            features: `(batch, channel, z, y, x)`.
            profile: `(batch, 3)`, values of the profile planes.

        Returns:
            `(batch, channel, z, y, x)`.
        """
        hidden = functional.silu(self.hidden((profile - self.centre) / self.spread))
        scale, shift = self.scale_and_shift(hidden)[..., None, None, None].chunk(2, dim=1)
        return features * (1 + scale) + shift


def _conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    def layers(n_in: int) -> tuple[nn.Module, ...]:
        convolution = Conv3x3x3(n_in, out_channels)
        # Checkpoints number the layers, from a time when the rectifier was one of them.
        return convolution, GroupNormLeakyReLU(_N_GROUPS, out_channels), nn.Identity()

    return nn.Sequential(*layers(in_channels), *layers(out_channels))


def _pad_to_stride(x: Tensor) -> Tensor:
    """Repeat the last planes until every side is a multiple of 4."""
    depth, height, width = ((-side) % _STRIDE for side in x.shape[2:])
    if depth or height or width:
        x = functional.pad(x, (0, width, 0, height, 0, depth), mode="replicate")
    return x


def _check_modulation(modulation: bool, n_profile: int) -> None:
    if modulation and n_profile != len(_TYPICAL_PROFILE):
        msg = f"modulation needs {len(_TYPICAL_PROFILE)} profile planes, got n_profile={n_profile}; add them."
        raise ValueError(msg)


def _check_channels(in_ch: int, n_experts: int, wf: int, n_profile: int) -> None:
    if wf < _N_GROUPS or wf % _N_GROUPS:
        msg = f"wf must be a positive multiple of {_N_GROUPS}, got {wf}; use 16 or 24."
        raise ValueError(msg)
    if n_experts < 2 or n_profile < 0 or in_ch not in (n_profile + n_experts, n_profile + n_experts + 1):
        msg = (
            f"in_ch must be n_profile + n_experts, plus 1 with the low resolution, got in_ch={in_ch}, "
            f"n_experts={n_experts}, n_profile={n_profile}; count every channel of the stack."
        )
        raise ValueError(msg)
