r"""Distance of all latents together from the prior, without asking that each lie at 0.

The density of each sample under the prior is highest at 0, so a loss on it pulls latents away from the shell
$|z|^2 = d$ where the prior's samples are. The maximum mean discrepancy compares the two sets of samples
instead (Tolstikhin et al. 2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from revoxel.semivae.objective.gather import all_gather_with_grad
from revoxel.semivae.objective.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor

#: Widths of the kernel, in those of the prior.
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_N_PRIOR = 256


class AggregateMMD(nn.Module):
    """Unbiased squared discrepancy of samples from a standard normal, inverse multiquadric kernel."""

    @full_precision
    def forward(self, z: Tensor) -> Tensor:
        """Measure a batch.

        Args:
            z: `(B, z_dim)` samples of the posteriors.

        Returns:
            A scalar, 0 on average under the prior; it may be negative.

        Raises:
            ValueError: If the batch has fewer than two samples.
        """
        if self.training and torch.is_grad_enabled():
            z = all_gather_with_grad(z)
        if len(z) < 2:
            msg = f"batch must have at least 2 samples for a discrepancy, got {len(z)}; enlarge it."
            raise ValueError(msg)
        return discrepancy(z, torch.randn(max(_N_PRIOR, len(z)), z.shape[1], dtype=z.dtype, device=z.device))


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    r"""Unbiased $\mathrm{MMD}^2$, kernel $\sum_s C_s / (C_s + |x - y|^2)$ with $C_s = 2 D s$ over scales.

    Args:
        first: `(n, D)` samples.
        second: `(m, D)` samples, of about unit variance.

    Returns:
        A scalar between -1 and 2.
    """
    return _mean_apart(first) + _mean_apart(second) - 2 * _kernel(first, second).mean()


def _mean_apart(samples: Tensor) -> Tensor:
    """Mean kernel of different samples."""
    n = len(samples)
    # A sample's kernel with itself is 1.
    return (_kernel(samples, samples).sum() - n) / (n * (n - 1))


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    square = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    square = square.clamp_min(0)
    widths = [2 * first.shape[1] * scale for scale in _SCALES]
    return torch.stack([width / (width + square) for width in widths]).mean(dim=0)
