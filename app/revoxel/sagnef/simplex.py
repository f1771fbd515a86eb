r"""Global simplex stacking: one convex weight per expert for all volumes of one spacing and pulse.

$\min_w \|X w - y\|^2$ subject to $w \ge 0$, $\sum_m w_m = 1$ needs only $X^\top X$, $X^\top y$, $y^\top y$,
which add up over volumes; so any number of them is streamed through once.
Source: Breiman, "Stacked regressions", Machine Learning 24, 1996.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# 2^n supports are tried; more experts than this would take minutes.
_MAX_EXPERTS = 12


@dataclass(frozen=True, eq=False)
class StackingStatistics:
    """What least squares needs to know about the voxels seen so far; statistics of two sets add up.

    Attributes:
        gram: `(expert, expert)`, sum over voxels of products of experts.
        cross: `(expert,)`, sum over voxels of expert times truth.
        energy: Sum over voxels of the truth squared.
        n_voxels: Voxels seen.
    """

    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    energy: float
    n_voxels: int

    @classmethod
    def of_volume(cls, experts: Tensor, truth: Tensor, mask: Tensor | None = None) -> StackingStatistics:
        """Statistics of one volume.

        Args:
            experts: `(expert, z, y, x)`, shared intensity map.
            truth: `(z, y, x)`, same map.
            mask: `(z, y, x)`, non-zero where voxels count; everywhere if None.

        Returns:
            The statistics, summed in float64.

        Raises:
            ValueError: If the shapes differ.
        """
        if experts.shape[1:] != truth.shape or (mask is not None and mask.shape != truth.shape):
            shapes = [tuple(experts.shape), tuple(truth.shape), None if mask is None else tuple(mask.shape)]
            msg = f"experts must be (expert, z, y, x), truth and mask (z, y, x), got {shapes}; use one grid."
            raise ValueError(msg)
        inside = slice(None) if mask is None else (mask != 0).flatten()
        predictors = experts.flatten(1)[:, inside].double()
        target = truth.flatten()[inside].double()
        gram, cross = predictors @ predictors.T, predictors @ target
        return cls(gram.cpu().numpy(), cross.cpu().numpy(), float(target @ target), target.numel())

    def __add__(self, other: StackingStatistics) -> StackingStatistics:
        return StackingStatistics(
            self.gram + other.gram,
            self.cross + other.cross,
            self.energy + other.energy,
            self.n_voxels + other.n_voxels,
        )

    def mean_squared_error(self, weights: NDArray[np.float64]) -> float:
        """Mean squared error of a mixture over all voxels seen.

        Args:
            weights: `(expert,)`.

        Returns:
            The error in squared units of the volumes.
        """
        error = weights @ self.gram @ weights - 2 * weights @ self.cross + self.energy
        return max(float(error), 0.0) / self.n_voxels


def fit_simplex(statistics: StackingStatistics) -> NDArray[np.float64]:
    """Convex weights with the least squared error: exact, by solving every face of the simplex.

    Args:
        statistics: Sums over the training voxels.

    Returns:
        `(expert,)`, non-negative, summing to 1; of equally good solutions one with the fewest experts.

    Raises:
        ValueError: If there are no voxels, or more experts than 12.
    """
    n_experts = len(statistics.cross)
    if statistics.n_voxels < 1 or not 1 <= n_experts <= _MAX_EXPERTS:
        msg = (
            f"statistics must hold voxels of 1 to {_MAX_EXPERTS} experts, got {statistics.n_voxels} voxels "
            f"of {n_experts}; check the mask and the stack."
        )
        raise ValueError(msg)
    best = np.zeros(n_experts)
    least_error = np.inf
    for weights in _face_minima(statistics.gram, statistics.cross):
        error = statistics.mean_squared_error(weights)
        # Rounding must not let a larger face win over an equally good smaller one.
        if error < least_error * (1 - 1e-12):
            best, least_error = weights, error
    return best


def _face_minima(gram: NDArray[np.float64], cross: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Minimum of the squared error on each face of the simplex, small faces first, where it lies inside."""
    n_experts = len(cross)
    # On the scale of the constraint, so that the solver weighs both alike.
    scale = max(float(np.trace(gram)) / n_experts, np.finfo(float).tiny)
    gram, cross = gram / scale, cross / scale
    for n_used in range(1, n_experts + 1):
        for face in combinations(range(n_experts), n_used):
            used = list(face)
            # Lagrange conditions of the equality-constrained least squares on this face.
            system = np.ones((n_used + 1, n_used + 1))
            system[:n_used, :n_used] = gram[np.ix_(used, used)]
            system[n_used, n_used] = 0
            solution = np.linalg.lstsq(system, np.append(cross[used], 1.0), rcond=None)[0][:n_used]
            if (solution >= 0).all() and abs(solution.sum() - 1) < 1e-6:
                weights = np.zeros(n_experts)
                weights[used] = solution / solution.sum()
                yield weights
