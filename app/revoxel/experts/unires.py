r"""UNIRES-type expert: maximum a posteriori volume under a slice-profile model and a total-variation prior.

$$\min_y \tfrac12\sum_c \|A y_c - x_c\|^2 + \lambda \sum_r \sqrt{\textstyle\sum_c |\nabla y_c(r)|^2}$$

Model of Brudfors et al. (MIUA 2018, arXiv 1909.01140), solved by the over-relaxed primal-dual method of
Chambolle and Pock (2011) and Condat (2013). $A$ acts along one axis only, so the data step is exact: one
$n \times n$ inverse for the whole volume instead of conjugate gradients.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from revoxel.experts.bspline import bspline
from revoxel.experts.problem import SliceProblem

_GRADIENT_NORM_SQUARED = 12.0  # bound of the squared norm of forward differences in three dimensions


@dataclass(frozen=True)
class UniresSettings:
    """Weights and size of the iteration.

    Args:
        strength_floor: Smallest weight of the prior, in units of the scaled intensity.
        strength_per_noise: Weight of the prior per standard deviation of noise.
        n_iterations: Primal-dual iterations.
        step: Primal step size; the dual one follows from it.
        relaxation: Over-relaxation, 1 to 2.
        tile: In-plane side of a tile; a tile's arrays then stay in the processor's cache.
        overlap: Rim of a tile that is computed and thrown away.
    """

    strength_floor: float = 0.0003
    strength_per_noise: float = 0.1
    n_iterations: int = 60
    step: float = 20.0
    relaxation: float = 1.8
    tile: int = 64
    overlap: int = 6


def unires(
    problem: SliceProblem,
    companions: Sequence[Tensor] = (),
    settings: UniresSettings | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Restore the slice axis by total variation.

    Args:
        problem: `low` is `(x, y, n_low)`.
        companions: Further pulses of the same grid, each `(x, y, n_low)`: edges are then shared (joint TV).
        settings: Weights and size of the iteration.
        progress: Called with the share done.

    Returns:
        `(x, y, n_high)`, float32.
    """
    settings = settings or UniresSettings()
    channels = torch.stack([problem.low, *companions])
    solver = _TileSolver(problem, channels, settings)
    result = torch.empty(*problem.low.shape[:2], problem.n_high)
    tiles = list(_tiles(problem.low.shape[0], problem.low.shape[1], settings))
    threads = torch.get_num_threads()
    if channels.is_cuda:
        tiles, threads = [_Tile.whole(*problem.low.shape[:2])], 1
    # One tile per thread: a tile fits the cache, one operation spread over threads would not.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for done, (tile, values) in enumerate(pool.map(solver.solve, tiles)):
                result[tile.inner] = values.cpu()
                if progress is not None:
                    progress((done + 1) / len(tiles))
    finally:
        torch.set_num_threads(threads)
    return result


def noise_std(low: Tensor) -> float:
    """Noise by the median absolute deviation of an in-plane high-pass; zero backgrounds are left out.

    Args:
        low: `(x, y, n_low)`.
    """
    high_pass = 0.5 * (low[1:, 1:] - low[:-1, 1:] - low[1:, :-1] + low[:-1, :-1])
    values = high_pass[high_pass != 0]
    if values.numel() == 0:
        return 0.0
    sample = values[:: max(1, values.numel() // 1_000_000)]
    return 1.4826 * float(sample.abs().median())


@dataclass(frozen=True)
class _Tile:
    outer: tuple[slice, slice]
    inner: tuple[slice, slice]

    @classmethod
    def whole(cls, n_x: int, n_y: int) -> _Tile:
        region = (slice(0, n_x), slice(0, n_y))
        return cls(region, region)

    def core(self, values: Tensor) -> Tensor:
        """The inner part of the outer tile's values."""
        starts = [i.start - o.start for i, o in zip(self.inner, self.outer, strict=True)]
        sizes = [i.stop - i.start for i in self.inner]
        return values[starts[0] : starts[0] + sizes[0], starts[1] : starts[1] + sizes[1]]


def _tiles(n_x: int, n_y: int, settings: UniresSettings) -> Iterator[_Tile]:
    for x in _spans(n_x, settings):
        for y in _spans(n_y, settings):
            yield _Tile((x[0], y[0]), (x[1], y[1]))


def _spans(n: int, settings: UniresSettings) -> list[tuple[slice, slice]]:
    count = max(1, math.ceil(n / (settings.tile - 2 * settings.overlap)))
    edges = [round(i * n / count) for i in range(count + 1)]
    rim = settings.overlap
    return [(slice(max(0, a - rim), min(n, b + rim)), slice(a, b)) for a, b in itertools.pairwise(edges)]


class _TileSolver:
    """The primal-dual iteration on one in-plane tile with all its slices."""

    def __init__(self, problem: SliceProblem, channels: Tensor, settings: UniresSettings) -> None:
        self.problem = problem
        self.channels = channels
        self.settings = settings
        self.strengths = [
            max(settings.strength_floor, settings.strength_per_noise * noise_std(low)) for low in channels
        ]
        matrix = problem.operator.matrix
        identity = torch.eye(problem.n_high, dtype=torch.float64)
        inverse = torch.linalg.inv(identity + settings.step * matrix.T @ matrix)
        self.inverse = inverse.to(channels)
        self.data = (settings.step * matrix @ inverse).to(channels)

    def solve(self, tile: _Tile) -> tuple[_Tile, Tensor]:
        """The first channel of the tile's solution, without its rim."""
        low = self.channels[(slice(None), *tile.outer)].contiguous()
        if bool((low == low[0, 0, 0, 0]).all()):
            return tile, tile.core(torch.full((*low.shape[1:3], self.problem.n_high), float(low[0, 0, 0, 0])))
        return tile, tile.core(self._iterate(low)[0])

    def _iterate(self, low: Tensor) -> Tensor:
        step, relaxation = self.settings.step, self.settings.relaxation
        dual_step = 1.0 / (_GRADIENT_NORM_SQUARED * step)
        # Scaling each channel by its strength turns the joint prior into one ball of radius 1.
        weight = torch.tensor(self.strengths).to(low).view(-1, 1, 1, 1)
        target = low @ self.data
        primal = torch.stack([self._start(channel) for channel in low])
        dual = [torch.zeros_like(primal) for _ in range(3)]
        spare = [torch.empty_like(primal) for _ in range(3)]
        for _ in range(self.settings.n_iterations):
            moved = primal.clone().add_(_divergence(dual), alpha=step) @ self.inverse
            moved += target
            ahead = torch.mul(moved, 2.0).sub_(primal)
            _ascend(dual, ahead, dual_step, weight, relaxation, spare)
            primal.lerp_(moved, relaxation)
        return primal

    def _start(self, low: Tensor) -> Tensor:
        problem = self.problem
        return bspline(
            SliceProblem(low, problem.n_high, problem.spacing_high_mm, problem.separation_mm, problem.profile)
        )


def _divergence(dual: Sequence[Tensor]) -> Tensor:
    """Negative adjoint of the forward differences."""
    out = dual[0].clone()
    out[:, 1:] -= dual[0][:, :-1]
    for axis, field in ((2, dual[1]), (3, dual[2])):
        out += field
        n = field.shape[axis]
        out.narrow(axis, 1, n - 1).sub_(field.narrow(axis, 0, n - 1))
    return out


def _ascend(
    dual: Sequence[Tensor],
    ahead: Tensor,
    dual_step: float,
    weight: Tensor,
    relaxation: float,
    spare: Sequence[Tensor],
) -> None:
    # The last forward difference along each axis is zero, so the dual there stays at its start, zero.
    for axis, (field, trial) in enumerate(zip(dual, spare, strict=True), start=1):
        trial.copy_(field)
        n = ahead.shape[axis]
        inner = trial.narrow(axis, 0, n - 1)
        inner.add_(ahead.narrow(axis, 1, n - 1), alpha=dual_step)
        inner.sub_(ahead.narrow(axis, 0, n - 1), alpha=dual_step)
    square = reduce(torch.add, ((trial / weight).square().sum(0, keepdim=True) for trial in spare))
    shrink = square.clamp_(min=1.0).rsqrt_()
    for field, trial in zip(dual, spare, strict=True):
        field.lerp_(trial.mul_(shrink), relaxation)
