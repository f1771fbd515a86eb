"""Mixtures of expert volumes and maps that say which expert ruled where."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The logarithm of an underflowed weight would be infinite, and so would its gradient.
_MIN_WEIGHT = 1e-12


def mix_experts(experts: Tensor, weights: Tensor) -> Tensor:
    r"""Blend expert volumes with one convex weight per voxel: $\hat x(r) = \sum_m w_m(r)\,x_m(r)$.

    Args:
        experts: `(batch, expert, z, y, x)`, shared intensity map, same order as `weights`.
        weights: `(batch, expert, z, y, x)`, non-negative, summing to 1 over `expert`.

    Returns:
        `(batch, 1, z, y, x)` in the units of `experts`.

    Raises:
        ValueError: If the two shapes differ.
    """
    if experts.shape != weights.shape:
        msg = (
            f"experts and weights must have the same shape, got {tuple(experts.shape)} and "
            f"{tuple(weights.shape)}; drop the low-resolution channel before mixing."
        )
        raise ValueError(msg)
    return (experts * weights).sum(dim=1, keepdim=True)


def mean_of_experts(experts: Tensor) -> Tensor:
    """Plain average, the baseline that a user would try first.

    Args:
        experts: `(batch, expert, z, y, x)`.

    Returns:
        `(batch, 1, z, y, x)` in the units of `experts`.
    """
    return experts.mean(dim=1, keepdim=True)


def median_of_experts(experts: Tensor) -> Tensor:
    """Median per voxel; the mean of the two middle values when the count is even.

    Args:
        experts: `(batch, expert, z, y, x)`.

    Returns:
        `(batch, 1, z, y, x)` in the units of `experts`.
    """
    ordered = experts.sort(dim=1).values
    n_experts = experts.shape[1]
    middle = ordered[:, (n_experts - 1) // 2 : n_experts // 2 + 1]
    return middle.mean(dim=1, keepdim=True)


def spread_of_experts(experts: Tensor) -> Tensor:
    """Largest minus smallest expert per voxel; zero where every mixture gives the same value.

    Args:
        experts: `(batch, expert, z, y, x)`.

    Returns:
        `(batch, 1, z, y, x)` in the units of `experts`.
    """
    return experts.amax(dim=1, keepdim=True) - experts.amin(dim=1, keepdim=True)


def dominant_expert(weights: Tensor) -> Tensor:
    """Index of the expert with the largest weight per voxel; the first one on a tie.

    Args:
        weights: `(batch, expert, z, y, x)`.

    Returns:
        `(batch, 1, z, y, x)`, int64, counted from 0 in the order of `weights`.
    """
    return weights.argmax(dim=1, keepdim=True)


def weight_entropy(weights: Tensor) -> Tensor:
    r"""Entropy of the weights per voxel, $H = -\sum_m w_m \log w_m$.

    Args:
        weights: `(batch, expert, z, y, x)`, non-negative, summing to 1 over `expert`.

    Returns:
        `(batch, 1, z, y, x)` in nats, from 0 (one expert rules) to `log(n_experts)` (all share).
    """
    return -(weights * weights.clamp_min(_MIN_WEIGHT).log()).sum(dim=1, keepdim=True)
