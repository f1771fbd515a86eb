r"""Gaussian likelihood that finds its own scale, in nats per voxel.

$$\mathcal{L} = \frac{\sum_{cv} w_{cv} \left[ (x_{cv} - \hat x_{cv})^2 / 2 s_c^2
+ \tfrac12 \ln s_c^2 \right]}{\sum_{cv} w_{cv}}$$

with $s_c^2$ the mean squared error of channel $c$ under the same weights (sigma-VAE, Rybkin et al. 2021; the
constant $\tfrac12 \ln 2\pi$ is left out). A mean squared error added to a KL term in nats instead is a
Gaussian of variance $N/2$ for $N$ voxels, under which no direction of a brain is worth a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from revoxel.semivae.objective.gather import mean_over_processes
from revoxel.semivae.objective.precision import full_precision


class CalibratedGaussianNLL(nn.Module):
    """Negative log-likelihood with one variance per channel, followed while training and kept in the state.

    The variance of a weighted loss is weighted alike, so that whatever is left out or stressed, a residual
    is one standard deviation on average and the balance with the KL term stays.

    Args:
        channels: Number of channels.
        ema: Share of the former variance that is kept per update; the first updates keep less, since the
            error then falls fast.
        floor: Least variance.

    Raises:
        ValueError: If a number is out of its range.
    """

    variance: Tensor
    n_updates: Tensor

    def __init__(self, channels: int, ema: float = 0.99, floor: float = 1e-4) -> None:
        super().__init__()
        if channels < 1 or not 0 <= ema < 1 or not floor > 0:
            msg = (
                f"likelihood must have channels >= 1, 0 <= ema < 1 and floor > 0, got {channels}, {ema:g} "
                f"and {floor:g}; correct the configuration."
            )
            raise ValueError(msg)
        self.ema, self.floor = ema, floor
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.long))

    @full_precision
    def forward(self, recon: Tensor, image: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score a reconstruction.

        Args:
            recon: `(B, C, X, Y, Z)`.
            image: The same shape.
            weight: Non-negative, broadcast to that shape; 0 leaves a voxel or a missing channel out.

        Returns:
            Two scalars in nats per voxel: weighted, and unweighted without gradient, with the same variances.

        Raises:
            ValueError: If shapes do not fit.
        """
        if recon.shape != image.shape or recon.shape[1] != len(self.variance):
            msg = (
                f"recon and image must have one shape with {len(self.variance)} channels, got "
                f"{tuple(recon.shape)} and {tuple(image.shape)}; correct the network's channels."
            )
            raise ValueError(msg)
        square = (image - recon) ** 2
        plain = _sums(square, torch.ones_like(square))
        weighted = plain if weight is None else _sums(square, weight.expand_as(square))
        variance = self._current(*(part.detach() for part in weighted))
        return _mean_nll(*weighted, variance), _mean_nll(*plain, variance).detach()

    def _current(self, errors: Tensor, masses: Tensor) -> Tensor:
        """Variances, which follow this batch where gradients are taken."""
        if not self.training or not torch.is_grad_enabled():
            return self.variance if self.n_updates > 0 else self._measured(errors, masses)
        errors, masses = mean_over_processes(torch.stack([errors, masses]))
        kept = (self.n_updates / (9 + self.n_updates)).clamp_max(self.ema)
        measured = self._measured(errors, masses)
        self.variance.copy_(
            torch.where(masses > 0, kept * self.variance + (1 - kept) * measured, self.variance)
        )
        self.n_updates += 1
        # A copy: the next update must not change what this batch's gradient needs.
        return self.variance.clone()

    def _measured(self, errors: Tensor, masses: Tensor) -> Tensor:
        return (errors / masses.clamp_min(1e-12)).clamp_min(self.floor)


def voxel_weights(
    tumour: Tensor | None, brain: Tensor, *, tumour_weight: float = 5.0, air_weight: float = 1.0
) -> Tensor:
    """Weights of the likelihood: 1 in the brain, more in the tumour, at most as much in the air.

    Args:
        tumour: `(B, 1, X, Y, Z)` share of tumour per voxel, or None without labels.
        brain: The same shape, share of brain.
        tumour_weight: Of a voxel full of tumour.
        air_weight: Of a voxel without brain, 0 to 1.

    Returns:
        `(B, 1, X, Y, Z)`.

    Raises:
        ValueError: If a weight is out of its range.
    """
    if not 0 <= air_weight <= 1 or not tumour_weight > 0:
        msg = (
            f"air_weight must be 0 to 1 and tumour_weight above 0, got {air_weight:g} and {tumour_weight:g}; "
            "correct the configuration."
        )
        raise ValueError(msg)
    weights = air_weight + (1 - air_weight) * brain
    return weights if tumour is None else weights + (tumour_weight - weights) * tumour


def _sums(square: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted squared error and weight per channel."""
    axes = (0, *range(2, square.ndim))
    return (weight * square).sum(axes), weight.to(square.dtype).sum(axes)


def _mean_nll(errors: Tensor, masses: Tensor, variance: Tensor) -> Tensor:
    nats = errors / (2 * variance) + 0.5 * masses * variance.log()
    return nats.sum() / masses.sum().clamp_min(1e-12)
