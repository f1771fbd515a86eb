"""Group normalisation and leaky rectifier in one layer, fast where torch's own is slow.

On a processor the backward pass of torch's GroupNorm takes longer than the convolution before it when the
channels lie last. Batch normalisation has vectorised kernels for that layout: its statistics and its scaling
of channels are what group normalisation needs too, one sample at a time.

Source: Wu and He, "Group Normalization", ECCV 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from revoxel.core.compute import CHANNELS_LAST

if TYPE_CHECKING:
    from torch import Tensor


class GroupNormLeakyReLU(nn.GroupNorm):
    """`LeakyReLU(GroupNorm(x))`, with the parameters and the names of `torch.nn.GroupNorm`.

    Args:
        num_groups: Groups that the channels are divided into.
        num_channels: Channels, a multiple of `num_groups`.
        slope: Slope of the rectifier below zero.

    Raises:
        ValueError: If the groups do not divide the channels or the slope is not positive.
    """

    def __init__(self, num_groups: int, num_channels: int, slope: float = 0.01) -> None:
        super().__init__(num_groups, num_channels)
        if slope <= 0:
            msg = f"slope must be positive, got {slope}; use 0.01."
            raise ValueError(msg)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and rectify.

        Args:
            x: `(batch, channel, y, x)` or `(batch, channel, z, y, x)`.

        Returns:
            The same shape, number format and layout.
        """
        if is_slow_for_torch(x):
            result: Tensor = _Fused.apply(x, self.weight, self.bias, (self.num_groups, self.eps, self.slope))
            return result
        return functional.leaky_relu(super().forward(x), self.slope, inplace=True)


def is_slow_for_torch(x: Tensor) -> bool:
    """Whether the package has faster ways: eagerly on a processor, channels last.

    Args:
        x: Any tensor.
    """
    # An exported network must consist of operators that other runtimes know.
    if x.device.type != "cpu" or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    layout = CHANNELS_LAST.get(x.ndim)
    return layout is not None and x.is_contiguous(memory_format=layout) and not x.is_contiguous()


class _Fused(torch.autograd.Function):
    """Both steps with an analytic gradient; keeps the input, the result and two numbers per group."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, options: tuple[int, float, float]
    ) -> Tensor:
        """Normalise every sample by the statistics of its groups, then rectify.

        Args:
            ctx: Autograd's context.
            x: `(batch, channel, ...)`, channels last.
            weight: `(channel,)`.
            bias: `(channel,)`.
            options: Groups of channels, what is added to the variance, slope of the rectifier.

        Returns:
            The same shape, number format and layout as `x`.
        """
        n_groups, epsilon, slope = options
        result = torch.empty_like(x)
        x, target = plain(x), plain(result)
        mean, variance = _group_statistics(x, n_groups)
        inverse_std = (variance + epsilon).rsqrt()
        scale = weight * inverse_std
        _scale_channels(x, scale, bias - mean * scale, target)
        functional.leaky_relu_(target, slope)
        ctx.save_for_backward(x, weight, mean, inverse_std, result)
        ctx.n_groups, ctx.slope = n_groups, slope
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        r"""Chain rule through rectifier and normalisation.

        With $y = \gamma\hat x + \beta$ and means over each group
        $\partial x = r\,(\gamma\,\partial y - \overline{\gamma\,\partial y}
        - \hat x\,\overline{\gamma\,\partial y\,\hat x})$, where $r$ is the inverse standard deviation.

        Args:
            ctx: Autograd's context.
            *gradients: Gradient of the result.

        Returns:
            Gradients of `x`, `weight` and `bias`; `None` for the options.
        """
        x, weight, mean, inverse_std, result = map(plain, ctx.saved_tensors)
        gradient = torch.empty_like(result)
        # The result has the sign that it had before the rectifier, so nothing more needs to be kept.
        torch.ops.aten.leaky_relu_backward(plain(gradients[0]), result, ctx.slope, True, grad_input=gradient)
        by_weight, by_bias = _channel_sums(gradient, x, mean, inverse_std)
        n_voxels = x[0, 0].numel()
        along, level = (_group_mean(weight * part, ctx.n_groups) / n_voxels for part in (by_weight, by_bias))
        slope = -along * inverse_std.square()
        correction = torch.empty_like(x)
        _scale_channels(x, slope, -level * inverse_std - slope * mean, correction)
        _scale_channels(gradient, weight * inverse_std, torch.zeros_like(mean), gradient)
        parameters = (part.sum(0).to(weight.dtype) for part in (by_weight, by_bias))
        return (gradient.add_(correction), *parameters, None)


def plain(tensor: Tensor) -> Tensor:
    """The same memory without what MONAI's tensors do in every operation.

    Args:
        tensor: Any tensor.
    """
    return tensor.as_subclass(torch.Tensor)


def _group_statistics(x: Tensor, n_groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of every sample's groups, one number per channel: both `(batch, channel)`."""
    # Running statistics, which never change, tell the kernel to count in their format instead of in half.
    running = torch.zeros(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
    parts = [torch.batch_norm_update_stats(sample, running, running.clone(), 0.0) for sample in x.split(1)]
    means, variances = (torch.stack(part) for part in zip(*parts, strict=True))
    mean = _group_mean(means, n_groups)
    return mean, _group_mean(variances + (means - mean).square(), n_groups)


def _channel_sums(gradient: Tensor, x: Tensor, mean: Tensor, inverse_std: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the voxels of gradient times normalised input, and of the gradient: `(batch, channel)`."""
    one, wanted = torch.ones_like(mean[0]), [False, True, True]
    samples = zip(gradient.split(1), x.split(1), mean, inverse_std, strict=True)
    parts = [
        torch.ops.aten.native_batch_norm_backward(
            incoming, sample, one, None, None, centre, factor, True, 0.0, wanted
        )[1:]
        for incoming, sample, centre, factor in samples
    ]
    by_weight, by_bias = (torch.stack(part) for part in zip(*parts, strict=True))
    return by_weight, by_bias


def _scale_channels(x: Tensor, scale: Tensor, shift: Tensor, result: Tensor) -> None:
    """Write `scale * x + shift` with one scale and one shift per sample and channel."""
    zero, one = torch.zeros_like(scale[0]), torch.ones_like(scale[0])
    for sample, factor, level, target in zip(x.split(1), scale, shift, result.split(1), strict=True):
        out = (target, scale.new_empty(0), scale.new_empty(0))
        torch.native_batch_norm(sample, factor, level, zero, one, False, 0.0, 0.0, out=out)


def _group_mean(values: Tensor, n_groups: int) -> Tensor:
    """Mean over the channels of a group, repeated for each of them: `(batch, channel)`."""
    groups = values.unflatten(1, (n_groups, -1))
    return groups.mean(dim=2, keepdim=True).expand_as(groups).flatten(1)
