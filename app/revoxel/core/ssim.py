"""Structural similarity of 3D volumes with a separable Gaussian window and an analytic gradient.

A one-channel `conv3d` is the slow way to blur a volume on a CPU; the window is separable, so a blur is three
sweeps of shifted, scaled additions. The gradient uses the adjoint of the same sweeps.

Source: Wang et al., "Image quality assessment: from error visibility to structural similarity",
IEEE Transactions on Image Processing 13(4), 2004.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

_SPATIAL_AXES = (-3, -2, -1)
# Slabs of this many window centres keep the filtered fields of a full volume inside the processor's cache.
_SLAB_VOXELS = 400_000


@dataclass(frozen=True, kw_only=True)
class SSIMWindow:
    """The Gaussian window and the constants of SSIM.

    Attributes:
        size: Side of the cubic window in voxels, odd.
        sigma: Standard deviation of the Gaussian in voxels.
        k1: Stabilises the luminance term, relative to the data range.
        k2: Stabilises the contrast term, relative to the data range.
        data_range: Largest minus smallest possible value of the volumes.
    """

    size: int = 7
    sigma: float = 1.5
    k1: float = 0.01
    k2: float = 0.03
    data_range: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a window that has no centre voxel or no positive range.

        Raises:
            ValueError: If `size` is even or below 3, or `sigma` or `data_range` is not positive.
        """
        if self.size < 3 or self.size % 2 == 0:
            msg = f"size must be an odd number >= 3, got {self.size}; use 7, the window of the loss."
            raise ValueError(msg)
        if self.sigma <= 0 or self.data_range <= 0:
            msg = (
                f"sigma and data_range must be positive, got {self.sigma} and {self.data_range}; "
                "a constant volume has no range, choose another one."
            )
            raise ValueError(msg)

    @property
    def taps(self) -> tuple[float, ...]:
        """Weights of the window along one axis, summing to 1."""
        offsets = torch.arange(self.size, dtype=torch.float64) - (self.size - 1) / 2
        weights = torch.exp(-0.5 * (offsets / self.sigma) ** 2)
        return tuple((weights / weights.sum()).tolist())


def ssim_map(first: Tensor, second: Tensor, window: SSIMWindow | None = None) -> Tensor:
    r"""Local structural similarity of two volumes, one value per window that lies inside them.

    $\frac{(2\mu_x\mu_y + c_1)(2\sigma_{xy} + c_2)}{(\mu_x^2+\mu_y^2+c_1)(\sigma_x^2+\sigma_y^2+c_2)}$
    with Gaussian-weighted moments. Differentiable once in both arguments.

    Args:
        first: `(batch, channel, z, y, x)`, float32 or float64.
        second: The same shape.
        window: Window and constants; the default is 7 voxels, sigma 1.5, data range 1.

    Returns:
        `(batch, channel, z - size + 1, y - size + 1, x - size + 1)`.

    Raises:
        ValueError: If the shapes differ, the rank is not 5, or a side is shorter than the window.
    """
    window = window or SSIMWindow()
    _check_volumes(first, second, window)
    result: Tensor = _SSIMMap.apply(first, second, window)
    return result


def mean_ssim(
    first: Tensor, second: Tensor, window: SSIMWindow | None = None, mask: Tensor | None = None
) -> Tensor:
    """Mean of `ssim_map` over all windows, or over those that lie wholly inside a mask.

    Args:
        first: `(batch, channel, z, y, x)`.
        second: The same shape.
        window: Window and constants.
        mask: `(batch, 1 or channel, z, y, x)`, non-zero where voxels count.

    Returns:
        Scalar; 1 when no window lies inside the mask, so that `1 - mean_ssim` is then zero.
    """
    window = window or SSIMWindow()
    similarity = ssim_map(first, second, window)
    if mask is None:
        return similarity.mean()
    inside = windows_inside(mask, window.size).to(similarity.dtype).expand_as(similarity)
    return 1 - ((1 - similarity) * inside).sum() / inside.sum().clamp_min(1)


@torch.no_grad()
def volume_ssim_map(first: Tensor, second: Tensor, window: SSIMWindow | None = None) -> Tensor:
    """`ssim_map` of one full volume without a gradient, in slabs that stay in the processor's cache.

    Args:
        first: `(z, y, x)`.
        second: The same shape.
        window: Window and constants.

    Returns:
        `(z - size + 1, y - size + 1, x - size + 1)`.
    """
    window = window or SSIMWindow()
    first, second = first[None, None], second[None, None]
    _check_volumes(first, second, window)
    margin = window.size - 1
    n_centres = first.shape[2] - margin
    n_slab = max(1, _SLAB_VOXELS // first[0, 0, 0].numel())
    slabs = [slice(start, min(start + n_slab, n_centres) + margin) for start in range(0, n_centres, n_slab)]
    return torch.cat([ssim_map(first[:, :, slab], second[:, :, slab], window)[0, 0] for slab in slabs])


def windows_inside(mask: Tensor, size: int) -> Tensor:
    """Mark the windows whose every voxel lies inside a mask.

    Args:
        mask: `(..., z, y, x)`, non-zero inside.
        size: Side of the cubic window in voxels.

    Returns:
        Boolean `(..., z - size + 1, y - size + 1, x - size + 1)`.
    """
    inside = mask != 0
    for axis in _SPATIAL_AXES:
        n_windows = inside.shape[axis] - size + 1
        parts = [inside.narrow(axis, shift, n_windows) for shift in range(size)]
        inside = parts[0].clone()
        for part in parts[1:]:
            inside &= part
    return inside


def _check_volumes(first: Tensor, second: Tensor, window: SSIMWindow) -> None:
    if first.shape != second.shape or first.ndim != 5:
        msg = (
            "volumes must be two (batch, channel, z, y, x) tensors of one shape, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}; bring both to one grid first."
        )
        raise ValueError(msg)
    if min(first.shape[2:]) < window.size:
        msg = (
            f"every side must be >= the SSIM window of {window.size} voxels, got {tuple(first.shape[2:])}; "
            "use larger patches or a smaller window."
        )
        raise ValueError(msg)


def _blur(volume: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Weighted mean over every window that lies inside the volume."""
    for axis in _SPATIAL_AXES:
        n_windows = volume.shape[axis] - len(taps) + 1
        blurred = volume.narrow(axis, 0, n_windows) * taps[0]
        for shift, tap in enumerate(taps[1:], start=1):
            blurred.add_(volume.narrow(axis, shift, n_windows), alpha=tap)
        volume = blurred
    return volume


def _blur_adjoint(windows: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Spread every window's value back over its voxels: the transpose of `_blur`."""
    for axis in reversed(_SPATIAL_AXES):
        shape = list(windows.shape)
        n_windows = shape[axis]
        shape[axis] += len(taps) - 1
        spread = windows.new_zeros(shape)
        for shift, tap in enumerate(taps):
            spread.narrow(axis, shift, n_windows).add_(windows, alpha=tap)
        windows = spread
    return windows


class _SSIMMap(torch.autograd.Function):
    """SSIM per window; only mean(x^2 + y^2) is needed of the two second moments, hence four blurs."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, window: SSIMWindow) -> Tensor:
        """Blur the four moments, combine them, and keep the partial derivatives.

        Args:
            ctx: Autograd's context.
            first: `(batch, channel, z, y, x)`.
            second: The same shape.
            window: Window and constants.

        Returns:
            SSIM per window.
        """
        taps = window.taps
        mean_x, mean_y = _blur(first, taps), _blur(second, taps)
        energy = _blur(torch.addcmul(first * first, second, second), taps)
        product = _blur(first * second, taps)
        c1, c2 = (window.k1 * window.data_range) ** 2, (window.k2 * window.data_range) ** 2
        means, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        luminance, covariance = 2 * means + c1, 2 * (product - means) + c2
        inverse_b1, inverse_b2 = 1 / (squares + c1), 1 / (energy - squares + c2)
        inverse = inverse_b1 * inverse_b2
        similarity = luminance * covariance * inverse
        if any(ctx.needs_input_grad[:2]):
            ctx.taps = taps
            cross, own = 2 * (covariance - luminance) * inverse, 2 * similarity * (inverse_b2 - inverse_b1)
            partials = (-similarity * inverse_b2, 2 * luminance * inverse)
            ctx.save_for_backward(first, second, mean_x, mean_y, cross, own, *partials)
        return similarity

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Chain rule through the four blurs by their adjoint.

        Args:
            ctx: Autograd's context.
            *gradients: Gradient of the result.

        Returns:
            Gradients of the two volumes; `None` for the window.
        """
        (gradient,) = gradients
        first, second, mean_x, mean_y, cross, own, by_energy, by_product = ctx.saved_tensors
        energy = 2 * _blur_adjoint(gradient * by_energy, ctx.taps)
        product = _blur_adjoint(gradient * by_product, ctx.taps)

        def volume_gradient(volume: Tensor, other: Tensor, mean: Tensor, other_mean: Tensor) -> Tensor:
            by_mean = _blur_adjoint(gradient * (cross * other_mean + own * mean), ctx.taps)
            return by_mean.addcmul_(volume, energy).addcmul_(other, product)

        first_gradient = volume_gradient(first, second, mean_x, mean_y) if ctx.needs_input_grad[0] else None
        second_gradient = volume_gradient(second, first, mean_y, mean_x) if ctx.needs_input_grad[1] else None
        return first_gradient, second_gradient, None
