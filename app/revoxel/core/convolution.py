"""3D convolutions whose gradients are fast on a processor where torch's own are slow.

In bfloat16 a processor spends half of the backward pass of a U-Net on the gradient of the weights of its
3x3x3 convolutions, which takes fewer multiplications along the depth; and where blocks of 2x2x2 voxels grow
out of single ones, a matrix product is all that there is to do.

Source: Winograd, "Arithmetic Complexity of Computations", SIAM 1980; for networks Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from revoxel.core.normalisation import is_slow_for_torch, plain

if TYPE_CHECKING:
    from torch import Tensor

# Small maps gain nothing.
_MIN_SIDE = 8


class Conv3x3x3(nn.Conv3d):
    """`torch.nn.Conv3d` of 3x3x3 voxels that keeps the size, with its parameters and their names.

    The result is torch's. In bfloat16 with channels last the gradient of the weights takes two thirds of the
    multiplications; its rounding errors double, to 0.4 %.

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
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if not (torch.is_grad_enabled() and dtype == torch.bfloat16 and _has_fast_gradient(x)):
            return super().forward(x)
        result: Tensor = _Convolution.apply(x.to(dtype), self.weight, self.bias)
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
            output_size: As in torch, where only twice the size can be meant.

        Returns:
            `(batch, channel, 2 z, 2 y, 2 x)`.
        """
        if not is_slow_for_torch(x):
            return super().forward(x, output_size)
        batch, _, *sides = x.shape
        voxels = x.movedim(1, -1).flatten(0, -2)
        blocks = voxels @ self.weight.permute(0, 2, 3, 4, 1).flatten(1)
        if self.bias is not None:
            blocks = blocks + self.bias.to(blocks.dtype).repeat(8)
        blocks = blocks.view(batch, *sides, 2, 2, 2, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return blocks.reshape(batch, *(2 * side for side in sides), -1).movedim(-1, 1)


def _has_fast_gradient(x: Tensor) -> bool:
    return is_slow_for_torch(x) and x.shape[2] % 2 == 0 and min(x.shape[2:]) >= _MIN_SIDE


class _Convolution(torch.autograd.Function):
    """3x3x3 convolution; its gradient of the weights has fewer multiplications."""

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
        x = plain(x)
        half = weight.to(x.dtype)
        ctx.save_for_backward(x, half)
        ctx.dtype = weight.dtype
        return functional.conv3d(x, half, bias.to(x.dtype), padding=1)

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
        return by_x, weight_gradient(x, gradient).to(ctx.dtype), by_bias.to(ctx.dtype)


def _input_gradient(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
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
    correlations = (
        _correlate(odd.diff(dim=1, prepend=border).neg_(), first),
        _correlate(even + odd, first + second),
        _correlate(odd - even, first - second),
        _correlate(even.diff(dim=1, append=border), second),
    )
    before, total, difference, after = correlations
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
