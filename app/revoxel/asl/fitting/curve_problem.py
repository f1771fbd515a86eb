"""Least squares of many voxels side by side: tissue and arterial blood, each voxel with its own constants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from revoxel.asl.physics import AslPhysics, arterial_signal, att_derivative, unit_signal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from revoxel.asl.protocol import AslProtocol

#: Variance of a uniform distribution of width 1.
_UNIFORM_VARIANCE = 1.0 / 12.0


@dataclass(frozen=True, eq=False)
class CurveProblem:
    """Weighted data, weighted signal and ranges; points are `(voxel, 3)`: CBF, ATT, aBV.

    Args:
        curves: `(voxel, channel)`, float64, weighted by one over the noise.
        weights: `(voxel, channel)`, those weights.
        blood: `(voxel, channel)`, weighted signal of an arterial blood volume of 1.
        low: `(3,)`, smallest values.
        high: `(3,)`, largest values.
        protocol: Delays of the channels.
        physics: Constants, numbers or one per voxel.
    """

    curves: Tensor
    weights: Tensor
    blood: Tensor
    low: Tensor
    high: Tensor
    protocol: AslProtocol
    physics: AslPhysics

    def part(self, rows: Tensor) -> CurveProblem:
        """The problem of some voxels."""
        physics = replace(self.physics, **{name: v[rows] for name, v in self.physics.arrays().items()})
        by_voxel = {name: getattr(self, name)[rows] for name in ("curves", "weights", "blood")}
        return replace(self, physics=physics, **by_voxel)

    def arriving(self, abat: Tensor) -> Tensor:
        """Weighted signal of an arterial blood volume of 1 that arrives at `abat` `(voxel,)`, in ms."""
        return arterial_signal(abat, self.protocol, self.physics) * self.weights

    def residuals(self, points: Tensor) -> Tensor:
        """Weighted data minus signal, `(voxel, channel)`."""
        unit = unit_signal(points[:, 1], self.protocol, self.physics) * self.weights
        return self.curves - points[:, :1] * unit - points[:, 2:] * self.blood

    def columns(self, points: Tensor, side_ms: float = 0.0) -> Tensor:
        """Derivatives of the weighted signal by CBF, ATT and aBV.

        Args:
            points: `(voxel, 3)`.
            side_ms: How far beside the ATT to look; the two sides of a kink differ.

        Returns:
            `(voxel, channel, 3)`.
        """
        cbf, att = points[:, :1], points[:, 1]
        unit = unit_signal(att, self.protocol, self.physics) * self.weights
        slope = att_derivative(att + side_ms, self.protocol, self.physics) * self.weights
        return torch.stack([unit, cbf * slope, self.blood], -1)

    def step(self, points: Tensor, damping: Tensor, side_ms: float) -> Tensor:
        """One damped Gauss-Newton step, projected on the ranges.

        Args:
            points: `(voxel, 3)`.
            damping: `(voxel,)`, Marquardt's.
            side_ms: See `columns`.

        Returns:
            `(voxel, 3)`; not a number where the equations have no solution.
        """
        columns = self.columns(points, side_ms)
        downhill = torch.einsum("ncp,nc->np", columns, self.residuals(points))
        normal = columns.mT @ columns
        scale = normal.diagonal(dim1=1, dim2=2)
        outward = ((points <= self.low) & (downhill < 0)) | ((points >= self.high) & (downhill > 0))
        free = ~outward & (scale > 0)
        damped = normal * (free[:, :, None] & free[:, None, :])
        damped = damped + torch.diag_embed(torch.where(free, scale * damping[:, None], 1.0))
        change, _ = torch.linalg.solve_ex(damped, downhill * free)
        return (points + change).clamp(self.low, self.high)

    def spread(self, points: Tensor) -> Tensor:
        """Standard deviations `(voxel, 3)` of the linearised problem, each range as a prior."""
        width = self.high - self.low
        columns = self.columns(points) * width
        prior = torch.eye(3, dtype=columns.dtype, device=columns.device) / _UNIFORM_VARIANCE
        covariance, _ = torch.linalg.inv_ex(columns.mT @ columns + prior)
        return covariance.diagonal(dim1=1, dim2=2).sqrt() * width


def scan_starts(
    problem: CurveProblem, atts_ms: Iterable[float], abats_ms: list[float]
) -> tuple[Tensor, Tensor]:
    """The best of a grid of ATT and aBAT, with the best CBF and aBV in range for each.

    Args:
        problem: The voxels.
        atts_ms: ATTs to try, ms.
        abats_ms: Arrivals of arterial blood to try, ms; none for no arterial blood.

    Returns:
        Points `(voxel, 3)` and aBAT `(voxel,)` in ms, 0 where none was tried.
    """
    curves = problem.curves
    arrivals = curves.new_tensor(abats_ms or [0.0])
    bloods = [problem.arriving(abat.expand(len(curves))) for abat in arrivals]
    blood = torch.stack(bloods, 1) * bool(abats_ms)
    blood_blood, data_blood = (blood * blood).sum(-1), (blood * curves[:, None]).sum(-1)
    best = curves.new_full((len(curves),), -1.0)
    points, arrival = curves.new_zeros((len(curves), 3)), curves.new_zeros(len(curves))
    for att in atts_ms:
        unit = unit_signal(curves.new_full((len(curves),), att), problem.protocol, problem.physics)
        unit = unit * problem.weights
        products = ((unit * unit).sum(1)[:, None], blood_blood, (unit[:, None] * blood).sum(-1))
        data = ((unit * curves).sum(1)[:, None], data_blood)
        cbf, abv, explained = _two_amounts(products, data, (problem.high[0], problem.high[2]))
        explained, place = explained.max(1)
        place = place[:, None]
        found = torch.cat([cbf.gather(1, place), torch.full_like(cbf[:, :1], att), abv.gather(1, place)], 1)
        better = explained > best
        best = torch.where(better, explained, best)
        points = torch.where(better[:, None], found, points)
        arrival = torch.where(better, arrivals[place[:, 0]], arrival)
    return points.maximum(problem.low), arrival * bool(abats_ms)


def arterial_grid(protocol: AslProtocol) -> list[float]:
    """One aBAT for each set of channels that a bolus in an artery can show in: middles between bends, ms.

    Args:
        protocol: Delays of the channels.

    Returns:
        ATTs in ms, ascending.
    """
    ends = [
        pld + duration for pld, duration in zip(protocol.pcasl_plds_ms, protocol.durations_ms, strict=True)
    ]
    starts = [max(time - (protocol.pasl_bolus_ms or 0.0), 0.0) for time in protocol.pasl_tis_ms]
    bends = sorted({*protocol.pcasl_plds_ms, *ends, *starts, *protocol.pasl_tis_ms})
    middles = torch.tensor([(first + last) / 2 for first, last in pairwise(bends)], dtype=torch.float64)
    return middles[(arterial_signal(middles, protocol) > 0).any(1)].tolist()


def _two_amounts(
    products: tuple[Tensor, Tensor, Tensor], data: tuple[Tensor, Tensor], most: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Least squares for two amounts between 0 and `most`: the amounts and what they explain."""
    first_first, second_second, cross = products
    data_first, data_second = data
    determinant = first_first * second_second - cross * cross
    apart = determinant > 1e-9 * first_first * second_second
    second = (data_second * first_first - data_first * cross) / torch.where(apart, determinant, 1.0)
    second = (second * apart).clamp(0.0 * most[1], most[1])
    present = first_first > 0
    first = (data_first - second * cross) / torch.where(present, first_first, 1.0) * present
    first = first.clamp(0.0 * most[0], most[0])
    seen = second_second > 0
    second = (data_second - first * cross) / torch.where(seen, second_second, 1.0) * seen
    second = second.clamp(0.0 * most[1], most[1])
    explained = (
        2 * (first * data_first + second * data_second)
        - first * first * first_first
        - second * second * second_second
        - 2 * first * second * cross
    )
    return first, second, explained
