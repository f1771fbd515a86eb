"""3D convolutions for a processor that multiplies bfloat16 with channels last: torch's own, rearranged.

- 8 or 24 channels leave vector lanes idle. Two neighbours in a row have twice as many, and in memory their
  channels lie side by side already: a kernel of four voxels and a step of two gives both.
- The gradient of the weights takes two thirds of the multiplications by Winograd's algorithm along the depth.
- Where blocks of 2x2x2 voxels grow out of single ones, a matrix product is all that there is to do.

Source: Winograd, "Arithmetic Complexity of Computations", SIAM 1980; for networks Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight, conv3d_weight

from revoxel.core.normalisation import is_slow_for_torch, plain

if TYPE_CHECKING:
    from torch import Tensor

# Small maps and few channels gain nothing.
_MIN_SIDE, _MIN_CHANNELS = 8, 16
# Counts of channels that leave lanes idle; beyond them the zeros in a kernel of four voxels cost more.
_IDLE_LANES = (8, 24)


class Conv3x3x3(nn.Conv3d):
    """`torch.nn.Conv3d` of 3x3x3 voxels that keeps the size, with its parameters and their names.

    The result is torch's. In bfloat16 with channels last the rounding errors in the gradient of the weights
    are twice those of torch, 0.4 %.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: `(batch, channel, z, y, x)`.

        Returns:
            `(batch, channel, z, y, x)`.
        """
        if not (is_slow_for_torch(x) and _computes_in_half(x) and _pays(*x.shape[2:])):
            return super().forward(x)
        result: Tensor = _Convolution.apply(x.to(torch.bfloat16), self.weight, self.bias)
        return result


class DoublingConv3d(nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` that makes 2x2x2 voxels of each, with its parameters and their names.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Double every side.

        Args:
            x: `(batch, channel, z, y, x)`.
            output_size: As in torch; twice the size by default.

        Returns:
            `(batch, channel, 2 z, 2 y, 2 x)`.
        """
        if output_size is not None or not is_slow_for_torch(x):
            return super().forward(x, output_size)
        batch, _, *sides = x.shape
        voxels = x.movedim(1, -1).flatten(0, -2)
        rows = self.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        blocks = functional.linear(voxels, rows, None if self.bias is None else self.bias.repeat(8))
        blocks = blocks.view(batch, *sides, 2, 2, 2, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return blocks.reshape(batch, *(2 * side for side in sides), -1).movedim(-1, 1)


def _computes_in_half(x: Tensor) -> bool:
    # Autocast leaves double precision alone.
    cast = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
    return (torch.get_autocast_dtype("cpu") if cast else x.dtype) == torch.bfloat16


def _pays(depth: int, height: int, width: int) -> bool:
    return depth % 2 == 0 and width % 2 == 0 and min(depth, height, width) >= _MIN_SIDE


class _Convolution(torch.autograd.Function):
    """3x3x3 convolution that keeps the size, of even depth and width."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve in the format of the input.

        Args:
            ctx: Autograd's context.
            x: `(batch, channel, z, y, x)`, channels last.
            weight: `(out, channel, 3, 3, 3)`.
            bias: `(out,)`.

        Returns:
            `(batch, out, z, y, x)`, channels last.
        """
        half = weight.to(x.dtype)
        ctx.save_for_backward(plain(x), half)
        ctx.dtype = weight.dtype
        return _convolve(x, half, bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the input, the weights and the bias.

        Args:
            ctx: Autograd's context.
            *gradients: Gradient of the result.
        """
        x, weight = ctx.saved_tensors
        gradient = plain(gradients[0]).contiguous(memory_format=torch.channels_last_3d)
        by_x = _input_gradient(x, weight, gradient) if ctx.needs_input_grad[0] else None
        # Asked for the gradient of the bias, torch computes that of the weights too.
        by_bias = gradient.movedim(1, -1).flatten(0, -2).sum(dim=0)
        if x.shape[1] < _MIN_CHANNELS:
            by_weight = conv3d_weight(x, weight.shape, gradient, padding=1)
        else:
            by_weight = weight_gradient(x, gradient)
        return by_x, by_weight.to(ctx.dtype), by_bias.to(ctx.dtype)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if len(weight) not in _IDLE_LANES:
        return functional.conv3d(x, weight, bias, padding=1)
    pairs = torch.cat([functional.pad(weight, (0, 1)), functional.pad(weight, (1, 0))])
    twice = None if bias is None else bias.repeat(2)
    result = functional.conv3d(x, pairs, twice, stride=(1, 1, 2), padding=1)
    return result.movedim(1, -1).unflatten(-1, (2, -1)).flatten(3, 4).movedim(-1, 1)


def _input_gradient(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    if x.shape[1] in _IDLE_LANES:
        return _convolve(gradient, weight.flip(2, 3, 4).transpose(0, 1))
    wanted = [True, False, False]
    by_x: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1] * 3, [1] * 3, [1] * 3, False, [0] * 3, 1, wanted
    )[0]
    return by_x


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    r"""Gradient of the weights of a 3x3x3 convolution by Winograd's $F(3, 2)$ along the depth.

    With planes $x_{-1}, \dots, x_2$ of the input around a pair of planes $g_0, g_1$ of the gradient, four
    correlations $m_0 = g_0 (x_{-1} - x_1)$, $m_1 = (g_0 + g_1)(x_0 + x_1)$,
    $m_2 = (g_0 - g_1)(x_1 - x_0)$ and $m_3 = g_1 (x_2 - x_0)$ give all three planes of the weights, where
    six were needed: $m_0 + \frac{m_1 + m_2}{2}$, $\frac{m_1 - m_2}{2}$ and $m_3 + \frac{m_1 + m_2}{2}$.

    Args:
        x: `(batch, channel, z, y, x)`, channels last, with even depth.
        gradient: `(batch, out, z, y, x)`, of the result.

    Returns:
        `(out, channel, 3, 3, 3)`, at least float32.
    """
    (even, odd), (first, second) = _pairs_of_planes(x), _pairs_of_planes(gradient)
    border = torch.zeros_like(even[:, :1])
    before = _correlate(odd.diff(dim=1, prepend=border).neg_(), first)
    total = _correlate(even + odd, first + second)
    difference = _correlate(odd - even, first - second)
    after = _correlate(even.diff(dim=1, append=border), second)
    mean = (total + difference) / 2
    return torch.stack([before + mean, (total - difference) / 2, after + mean], dim=2)


def _pairs_of_planes(volume: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd planes, both `(batch, pair, y, x, channel)`."""
    planes = volume.movedim(1, -1)
    return planes[:, ::2], planes[:, 1::2]


def _correlate(x: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of the weights of a 3x3 convolution, summed over all planes, at least in float32."""
    images, incoming = (planes.flatten(0, 1).movedim(-1, 1) for planes in (x, gradient))
    size = (incoming.shape[1], images.shape[1], 3, 3)
    total: Tensor = conv2d_weight(images, size, incoming, padding=1)
    return total.to(torch.promote_types(total.dtype, torch.float32))
