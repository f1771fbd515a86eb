r"""Unbiased measures of dependence between groups of latents, all pairs of groups at once.

Distance correlation and HSIC are the same statistic of two pairwise matrices, distances or kernels, with
diagonal 0:

$$\langle A, B \rangle = \frac{1}{n(n-3)} \left[ \sum_{ij} a_{ij} b_{ij}
- \frac{2}{n-2} \sum_i a_{i\cdot} b_{i\cdot} + \frac{a_{\cdot\cdot} b_{\cdot\cdot}}{(n-1)(n-2)} \right]$$

(Szekely and Rizzo 2014; Song et al. 2012), normalised as a correlation. It is 0 on average for independent
groups at any n, and may be negative. Biased forms are near 1 for small batches of many latents, dependent
or not.

Samples of earlier iterations enter without gradient: their matrix is constant, only rows of new samples
are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

MIN_SAMPLES = 4
#: Below it a group is constant for all purposes, and a scale-free measure of it would be noise.
_LEAST_VARIANCE = 1e-6

Blocks = tuple["Tensor", "Tensor", "Tensor"]


def distance_correlations(groups: Sequence[Tensor], queued: Sequence[Tensor]) -> Tensor:
    """Unbiased squared distance correlations of all groups.

    Args:
        groups: New samples of each group, `(B, d)`.
        queued: Earlier samples of each, `(Q, d)`, without gradient.

    Returns:
        `(groups, groups)`; -1 to 1, negative values are noise about 0.
    """
    return _correlations([_distances(new, old) for new, old in zip(groups, queued, strict=True)])


def kernel_correlations(groups: Sequence[Tensor], queued: Sequence[Tensor]) -> Tensor:
    """Unbiased normalised HSIC of all groups, Gaussian kernels of median width.

    Args:
        groups: New samples of each group, `(B, d)`.
        queued: Earlier samples of each, `(Q, d)`, without gradient.

    Returns:
        `(groups, groups)`.
    """
    return _correlations([_kernels(_distances(new, old)) for new, old in zip(groups, queued, strict=True)])


def covariance(mu: Tensor, queued: Tensor, logvar: Tensor) -> Tensor:
    """Covariance of the whole posterior (DIP-VAE-II, Kumar et al. 2018): of the means plus mean variance.

    Args:
        mu: `(B, D)` means of new samples.
        queued: `(Q, D)` means of earlier samples.
        logvar: `(B, D)` logarithms of the variances.

    Returns:
        `(D, D)`.
    """
    return torch.cov(torch.cat([mu, queued]).T) + torch.diag(logvar.exp().mean(dim=0))


def _distances(new: Tensor, old: Tensor) -> Blocks:
    """Distances new to new, new to old, old to old."""
    exact = "donot_use_mm_for_euclid_dist"
    return (
        torch.cdist(new, new, compute_mode=exact),
        torch.cdist(new, old, compute_mode=exact),
        torch.cdist(old, old),
    )


def _kernels(blocks: Blocks) -> Blocks:
    """Gaussian kernels of distances, diagonals 0."""
    new, between, old = (block**2 for block in blocks)
    width = _median(new, between)
    kernels = [torch.exp(-square / width) for square in (new, between, old)]
    return _hollow(kernels[0]), kernels[1], _hollow(kernels[2])


def _median(new: Tensor, between: Tensor) -> Tensor:
    """Median squared distance of new samples, without gradient: it would be that of two samples alone."""
    # The earlier samples among themselves say no more about it, and their median takes long.
    square = between if between.numel() else _off_diagonal(new)
    return square.detach().median().clamp_min(_LEAST_VARIANCE)


def _correlations(matrices: Sequence[Blocks]) -> Tensor:
    """Normalised inner products of all matrices, given as blocks."""
    products = _inner_products(*(torch.stack(blocks) for blocks in zip(*matrices, strict=True)))
    variances = products.diagonal()
    scale = (variances[:, None] * variances[None, :]).clamp_min(_LEAST_VARIANCE**2).sqrt()
    return products / scale


def _inner_products(new: Tensor, between: Tensor, old: Tensor) -> Tensor:
    n = new.shape[-1] + old.shape[-1]
    # A constant off the diagonal changes nothing; without one, small differences of large sums remain.
    total = new.sum((1, 2)) + 2 * between.sum((1, 2)) + old.sum((1, 2))
    offset = (total / (n * (n - 1))).detach()[:, None, None]
    new, between, old = _hollow(new - offset), between - offset, _hollow(old - offset)
    rows = torch.cat([new.sum(2) + between.sum(2), between.sum(1) + old.sum(2)], dim=1)
    totals = rows.sum(1)
    sums = _gram(new) + 2 * _gram(between) + _gram(old)
    centred = sums - 2 / (n - 2) * rows @ rows.T + torch.outer(totals, totals) / ((n - 1) * (n - 2))
    return centred / (n * (n - 3))


def _gram(blocks: Tensor) -> Tensor:
    flat = blocks.flatten(1)
    return flat @ flat.T


def _hollow(square: Tensor) -> Tensor:
    """A square matrix, or a stack of them, with diagonal 0."""
    return square * (1 - torch.eye(square.shape[-1], dtype=square.dtype, device=square.device))


def _off_diagonal(square: Tensor) -> Tensor:
    return square[~torch.eye(len(square), dtype=torch.bool, device=square.device)]


MEASURES: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]] = {
    "dcor": distance_correlations,
    "hsic": kernel_correlations,
}
