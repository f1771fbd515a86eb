"""Penalty for partitions that tell about each other."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from revoxel.semivae.objective.dependence import MEASURES, MIN_SAMPLES, covariance
from revoxel.semivae.objective.gather import all_gather_with_grad
from revoxel.semivae.objective.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from revoxel.semivae.network.partition import LatentPartition

Kind = Literal["dcor", "hsic", "dip", "dip_correlation"]
Pair = tuple[str, str]


class IndependenceLoss(nn.Module):
    """Mean dependence of pairs of partitions in the batch of all processes and in a queue of earlier samples.

    Of 8 or 16 samples alone every measure is noise. The queue holds posterior means without gradient, and
    is part of the state. New samples learn for those of the queue too: the pull is that of as many new
    samples, whatever the queue's length.

    Args:
        partition: Of the latent.
        kind: `dcor`, unbiased squared distance correlation; `hsic`, unbiased normalised HSIC; `dip`, mean
            squared covariance, and `dip_correlation`, mean squared correlation, which see linear
            dependence alone.
        pairs: Names of two parts each; None is all pairs of different parts. With the two `dip` kinds a
            part may be paired with itself: its own latents are then pulled apart.
        queue: Number of earlier samples.
        linked: Pairs that a hierarchy makes dependent on purpose.

    Raises:
        ValueError: If the kind or a part is unknown, a pair is linked by the hierarchy, or a part is
            paired with itself where that says nothing.
    """

    queued: Tensor
    n_seen: Tensor

    def __init__(
        self,
        partition: LatentPartition,
        kind: Kind = "dcor",
        pairs: Sequence[Pair] | None = None,
        queue: int = 256,
        linked: Sequence[Pair] = (),
    ) -> None:
        super().__init__()
        self.slices = dict(partition.slices)
        self.pairs = list(combinations(self.slices, 2)) if pairs is None else [(a, b) for a, b in pairs]
        self.kind = kind
        _check_kind(kind, queue)
        _check_pairs(self.pairs, list(self.slices), linked, own=kind not in MEASURES)
        self.register_buffer("queued", torch.zeros(queue, partition.z_dim))
        self.register_buffer("n_seen", torch.zeros((), dtype=torch.long))

    @full_precision
    def forward(self, mu: Tensor, logvar: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Measure a batch; while gradients are taken in training, the queue moves on.

        Args:
            mu: `(B, z_dim)` means.
            logvar: `(B, z_dim)` logarithms of the variances; read by the two `dip` kinds.

        Returns:
            Mean over the pairs, and the pairs by the name `<a>_<b>`. 0 as long as there are fewer than four
            samples.

        Raises:
            ValueError: If the batch has fewer than four samples and there is no queue.
        """
        learning = self.training and torch.is_grad_enabled()
        if learning:
            mu, logvar = all_gather_with_grad(torch.stack([mu, logvar], dim=1)).unbind(dim=1)
        earlier = self._earlier(mu)
        self._check_batch(mu)
        if learning:
            self._remember(mu.detach())
        if len(mu) + len(earlier) < MIN_SAMPLES:
            values = [0 * mu.sum()] * len(self.pairs)
        else:
            values = self._dependences(_steepened(mu, 1 + len(earlier) / len(mu)), earlier, logvar)
        names = (f"{first}_{second}" for first, second in self.pairs)
        parts = {name: value.detach() for name, value in zip(names, values, strict=True)}
        return torch.stack(values).mean(), parts

    def _dependences(self, mu: Tensor, earlier: Tensor, logvar: Tensor) -> list[Tensor]:
        if self.kind in MEASURES:
            order = list(self.slices)
            spans = self.slices.values()
            table = MEASURES[self.kind]([mu[:, s] for s in spans], [earlier[:, s] for s in spans])
            return [table[order.index(first), order.index(second)] for first, second in self.pairs]
        matrix = covariance(mu, earlier, logvar)
        if self.kind == "dip_correlation":
            deviations = matrix.diagonal().sqrt()
            matrix = matrix / torch.outer(deviations, deviations)
        return [self._mean_square(matrix, first, second) for first, second in self.pairs]

    def _mean_square(self, matrix: Tensor, first: str, second: str) -> Tensor:
        block = matrix[self.slices[first], self.slices[second]]
        if first == second:
            return (block**2).sum().sub((block.diagonal() ** 2).sum()) / max(1, len(block) * (len(block) - 1))
        return (block**2).mean()

    def _earlier(self, mu: Tensor) -> Tensor:
        n_filled = min(int(self.n_seen), len(self.queued))
        # A copy: the queue moves on before the gradient is taken.
        return self.queued[:n_filled].to(mu, copy=True)

    def _remember(self, mu: Tensor) -> None:
        if not len(self.queued):
            return
        newest = mu[-len(self.queued) :].to(self.queued)
        places = (self.n_seen + torch.arange(len(newest), device=newest.device)) % len(self.queued)
        self.queued[places] = newest
        self.n_seen += len(newest)

    def _check_batch(self, mu: Tensor) -> None:
        if len(mu) < MIN_SAMPLES and not len(self.queued):
            msg = (
                f"batch must have at least {MIN_SAMPLES} samples to measure independence, got {len(mu)}; "
                "give the independence loss a queue, or a larger batch."
            )
            raise ValueError(msg)


def _steepened(mu: Tensor, factor: float) -> Tensor:
    """The same numbers with a steeper gradient."""
    return mu + (factor - 1) * (mu - mu.detach())


def _check_kind(kind: str, queue: int) -> None:
    if kind not in get_args(Kind) or queue < 0:
        msg = (
            f"independence must be of a kind among {', '.join(get_args(Kind))} with a queue >= 0, got "
            f"{kind!r} and {queue}; correct the configuration."
        )
        raise ValueError(msg)


def _check_pairs(pairs: Sequence[Pair], known: Sequence[str], linked: Sequence[Pair], *, own: bool) -> None:
    wrong = [pair for pair in pairs if not set(pair) <= set(known) or (pair[0] == pair[1] and not own)]
    if wrong or not pairs:
        msg = (
            f"independence must have pairs of different parts among {', '.join(known)}, got "
            f"{wrong or 'none'}; correct the configuration."
        )
        raise ValueError(msg)
    links = {frozenset(pair) for pair in linked}
    both = [pair for pair in pairs if frozenset(pair) in links]
    if both:
        msg = (
            f"a pair of parts must not be both linked by a hierarchy and kept independent, got {both}; turn "
            "one of the two off."
        )
        raise ValueError(msg)
