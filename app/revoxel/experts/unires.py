r"""UNIRES-type expert: maximum a posteriori volume under a slice-profile model and a total-variation prior.

$$\min_y \tfrac12\sum_c \|A y_c - x_c\|^2 + \lambda \sum_r \sqrt{\textstyle\sum_c |\nabla y_c(r)|^2}$$

Model of Brudfors et al. (MIUA 2018, arXiv 1909.01140), solved by the over-relaxed primal-dual method of
Chambolle and Pock (2011) and Condat (2013). $A$ acts along one axis only, so the data step is exact: two
small matrices for the whole volume instead of conjugate gradients.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from revoxel.experts.bspline import bspline
from revoxel.experts.problem import SliceProblem

_GRADIENT_NORM_SQUARED = 12.0  # bound of the squared norm of forward differences in three dimensions
_VECTOR = 16  # float32 numbers of the widest vector unit


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
    device: torch.device | None = None,
) -> Tensor:
    """Restore the slice axis by total variation.

    Args:
        problem: `low` is `(x, y, n_low)`.
        companions: Further pulses of the same grid, each `(x, y, n_low)`: edges are then shared (joint TV).
        settings: Weights and size of the iteration.
        progress: Called with the share done.
        device: Where to compute; where the slices are by default.

    Returns:
        `(x, y, n_high)`, float32, on the processor.
    """
    settings = settings or UniresSettings()
    channels = torch.stack([problem.low, *companions]).to(device)
    solver = _TileSolver(problem, channels, settings)
    result = torch.empty(*problem.low.shape[:2], problem.n_high)
    tiles = list(_tiles(problem.low.shape[0], problem.low.shape[1], settings))
    n_threads = n_workers = torch.get_num_threads()
    if channels.is_cuda:
        tiles, n_workers = [_Tile.whole(*problem.low.shape[:2])], 1
    # One tile per thread: a tile fits the cache, one operation spread over threads would not.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n_workers) as pool:
            for done, (tile, values) in enumerate(pool.map(solver.solve, tiles)):
                result[tile.inner] = values.cpu()
                if progress is not None:
                    progress((done + 1) / len(tiles))
    finally:
        torch.set_num_threads(n_threads)
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
        identity = torch.eye(problem.n_low, dtype=torch.float64)
        # Woodbury: both matrices are n_high x n_low, several times smaller than the n_high x n_high inverse.
        gain = settings.step * torch.linalg.solve(identity + settings.step * matrix @ matrix.T, matrix)
        # Matrix products run up to twice as fast on whole vectors: no slices are added that weigh anything.
        self.n_padding = -problem.n_low % _VECTOR
        self.look = functional.pad(matrix, (0, 0, 0, self.n_padding)).T.to(channels)
        self.gain = functional.pad(gain, (0, 0, 0, self.n_padding)).to(channels)

    def solve(self, tile: _Tile) -> tuple[_Tile, Tensor]:
        """The first channel of the tile's solution, without its rim."""
        low = self.channels[(slice(None), *tile.outer)].contiguous()
        if bool((low == low[0, 0, 0, 0]).all()):
            return tile, tile.core(torch.full((*low.shape[1:3], self.problem.n_high), float(low[0, 0, 0, 0])))
        return tile, tile.core(self._iterate(low)[0])

    def _iterate(self, low: Tensor) -> Tensor:
        step, relaxation = self.settings.step, self.settings.relaxation
        # Each channel in units of its strength: the joint prior's dual is then one ball of radius 1.
        unit = torch.tensor(self.strengths).to(low).view(-1, 1, 1, 1)
        measured = functional.pad(low / unit, (0, self.n_padding)).flatten(0, -2)
        primal = torch.stack([self._start(channel) for channel in low]).div_(unit)
        dual, trial = primal.new_zeros(2, 3, *primal.shape)
        moved, ahead, misfit = (torch.empty_like(like) for like in (primal, primal, measured))
        lines = moved.view(-1, self.problem.n_high)
        for _ in range(self.settings.n_iterations):
            _add_divergence(primal, dual, step, out=moved)
            torch.addmm(measured, lines, self.look, alpha=-1, out=misfit)
            lines.addmm_(misfit, self.gain)
            torch.sub(moved, primal, alpha=0.5, out=ahead)
            primal.lerp_(moved, relaxation)
            _add_gradient(dual, ahead, 2.0 / (_GRADIENT_NORM_SQUARED * step), out=trial)
            dual.lerp_(trial.mul_(_shrinkage(trial, out=moved)), relaxation)
        return primal.mul_(unit)

    def _start(self, low: Tensor) -> Tensor:
        problem = self.problem
        return bspline(
            SliceProblem(low, problem.n_high, problem.spacing_high_mm, problem.separation_mm, problem.profile)
        )


# The last difference along an axis is zero, and so is the dual there. So fields may be shifted in memory as
# one long line, which is faster than line by line: what crosses from one line into the next is a zero.


def _add_divergence(volume: Tensor, dual: Tensor, factor: float, out: Tensor) -> None:
    """Volume plus `factor` times the negative adjoint of the forward differences, applied to the dual."""
    torch.add(volume, dual[0], alpha=factor, out=out)
    out.add_(dual[1], alpha=factor).add_(dual[2], alpha=factor)
    for field, stride in zip(dual, volume.stride()[1:], strict=True):
        out.view(-1)[stride:].sub_(field.view(-1)[:-stride], alpha=factor)


def _add_gradient(dual: Tensor, volume: Tensor, factor: float, out: Tensor) -> None:
    """Dual plus `factor` times the forward differences of a volume `(channel, x, y, z)`."""
    line = volume.view(-1)
    for axis, stride in enumerate(volume.stride()[1:]):
        moved = out[axis].view(-1)[:-stride]
        torch.add(dual[axis].view(-1)[:-stride], line[stride:], alpha=factor, out=moved)
        moved.sub_(line[:-stride], alpha=factor)
        out[axis].select(axis + 1, -1).zero_()


def _shrinkage(dual: Tensor, out: Tensor) -> Tensor:
    """Factor that puts the dual of every voxel back into the ball of radius 1; `out` is overwritten."""
    torch.mul(dual[0], dual[0], out=out).addcmul_(dual[1], dual[1]).addcmul_(dual[2], dual[2])
    square = out if len(out) == 1 else out.sum(0, keepdim=True)
    return square.clamp_(min=1.0).rsqrt_()
