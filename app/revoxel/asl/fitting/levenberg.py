"""Levenberg-Marquardt for all voxels at once: constants that differ by voxel, and blood still in arteries.

`fit_dictionary` is faster and finds the global optimum wherever the constants are those of a whole item; use
`fit_lm` with maps of constants (T1 of blood, efficiency) or for the arterial term.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from revoxel.asl.fitting.chunks import CHUNK, map_chunks
from revoxel.asl.fitting.curve_problem import CurveProblem, arterial_grid, scan_starts
from revoxel.asl.fitting.dictionary import att_grid
from revoxel.asl.fitting.fit import AslFit, FitSettings, OnNonfinite, fit_voxels
from revoxel.asl.fitting.voxels import Noise, Voxels, gather_voxels
from revoxel.asl.physics import Array, AslPhysics

if TYPE_CHECKING:
    from revoxel.asl.protocol import AslProtocol

#: Step of the ATT grid where the dictionary cannot give the start, ms.
_SCAN_MS = 50.0
#: Both sides of a kink are tried in turn: how far beside the ATT, ms.
_SIDE_MS = 1e-3
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-9, 1e8
#: A step that lowers the sum of squares by less than this share is the last one.
_CONVERGED = 1e-12


@dataclass(frozen=True)
class LmSettings:
    """Ranges and terms of `fit_lm`.

    Args:
        ranges: Ranges of CBF and ATT, grid of the start, and what to do with voxels that are not finite.
        arterial: Fit arterial blood volume and arterial bolus arrival time too.
        abv_max: Largest arterial blood volume, a fraction.
        n_iterations: Most steps per voxel.

    Raises:
        ValueError: If a number is out of range.
    """

    ranges: FitSettings = field(default_factory=FitSettings)
    arterial: bool = False
    abv_max: float = 0.1
    n_iterations: int = 60

    def __post_init__(self) -> None:
        if not (0 < self.abv_max <= 1 and self.n_iterations >= 1):
            msg = (
                "abv_max must be above 0 and at most 1 and n_iterations at least 1, got "
                f"{self.abv_max} and {self.n_iterations}; try 0.1 and 60."
            )
            raise ValueError(msg)


def fit_lm(
    dm: Array,
    protocol: AslProtocol,
    physics: AslPhysics | None = None,
    *,
    sigma: Any = None,
    mask: Any = None,
    settings: LmSettings | None = None,
) -> AslFit[Array]:
    """Fit CBF, ATT and, if asked, arterial blood, by Levenberg-Marquardt from the dictionary's optimum.

    Steps are projected on the ranges and kept only if they fit better, so that the result is never worse than
    the start and always finite. Standard deviations are those of the linearised problem at the optimum, with
    the ranges as prior, hence finite too. A bolus in an artery shows alike whenever it arrives between the
    same two delays, so aBAT is known to that interval only; its middle is returned, and 0 where aBV is 0.

    Args:
        dm: `(..., channel)`, difference signal in units of M0.
        protocol: Delays of the channels.
        physics: Constants, each a number, one per item of the first axis, or a map; standard if not given.
        sigma: Standard deviation of the noise of `dm`, see `fit_dictionary`.
        mask: `(...)`, true where a voxel is wanted; every voxel if none.
        settings: Ranges, arterial term, number of steps.

    Returns:
        Maps of the kind of array that came in; no posterior means.

    Raises:
        ValueError: If there are fewer channels than parameters, no channel sees arterial blood, shapes do not
            fit, the mask is empty, or a wanted voxel is not finite.
    """
    settings = settings or LmSettings()
    _check_channels(protocol, arterial=settings.arterial)
    drop = settings.ranges.on_nonfinite == OnNonfinite.MASK
    voxels = gather_voxels(dm, protocol, mask, drop_nonfinite=drop)
    noise = Noise.of(sigma, voxels)
    rough, exact = _constants(physics or AslPhysics(), voxels)
    first = fit_voxels(voxels, replace(noise, levels=None), protocol, rough, settings.ranges)
    start = torch.stack([first["cbf"], first["att"], torch.zeros_like(first["cbf"])], 1)

    def fit_part(part: Tensor) -> dict[str, Tensor]:
        problem = _problem(voxels, part, noise, (protocol, exact), settings)
        return _fit_part(problem, start[part], settings)

    columns = map_chunks(fit_part, list(torch.arange(len(start), device=start.device).split(CHUNK)))
    unknown = ({"cbf_sd", "att_sd"} if sigma is None else set()) | (
        set() if settings.arterial else {"abv", "abat"}
    )
    maps = {name: voxels.map_of(values) for name, values in columns.items() if name not in unknown}
    return AslFit(dropped=voxels.dropped_map(), **maps)


def _check_channels(protocol: AslProtocol, *, arterial: bool) -> None:
    n_parameters = 4 if arterial else 2
    if protocol.n_channels < n_parameters:
        names = "CBF, ATT, aBV and aBAT" if arterial else "CBF and ATT"
        msg = f"protocol must have {n_parameters} channels to fit {names}, got {protocol.labels}; fit fewer."
        raise ValueError(msg)
    if arterial and not arterial_grid(protocol):
        msg = f"protocol must have PCASL or PASL channels for arterial blood, got {protocol.labels}."
        raise ValueError(msg)


def _constants(physics: AslPhysics, voxels: Voxels) -> tuple[AslPhysics, AslPhysics]:
    """Constants for the dictionary, maps by their mean; and exact ones, each a number or one per voxel."""
    rough: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    for name, given in physics.arrays().items():
        values = torch.as_tensor(given).detach().to(voxels.curves.device, torch.float64)
        if tuple(values.shape) == voxels.shape:
            exact[name] = values.reshape(-1)[voxels.rows]
            rough[name] = float(exact[name].mean())
        else:
            physics.of_item(0, voxels.n_items)
            exact[name] = values[voxels.item_of_row]
    return replace(physics, **rough), replace(physics, **exact)


def _problem(
    voxels: Voxels,
    part: Tensor,
    noise: Noise,
    model: tuple[AslProtocol, AslPhysics],
    settings: LmSettings,
) -> CurveProblem:
    """The least-squares problem of some of the chosen voxels."""
    rows, (protocol, physics) = voxels.rows[part], model
    weights = noise.weights[voxels.item_of_row[part] % len(noise.weights)]
    weights = weights if noise.levels is None else weights / noise.levels[rows, None]
    att_low, att_high = settings.ranges.att_range_ms
    cbf_high, abv_high = settings.ranges.cbf_max_ml_100g_min, settings.abv_max * settings.arterial
    return CurveProblem(
        curves=voxels.curves[rows].double() * weights,
        weights=weights,
        blood=torch.zeros_like(weights),
        low=weights.new_tensor([0.0, att_low, 0.0]),
        high=weights.new_tensor([cbf_high, att_high, abv_high]),
        protocol=protocol,
        physics=replace(physics, **{name: values[part] for name, values in physics.arrays().items()}),
    )


def _fit_part(problem: CurveProblem, start: Tensor, settings: LmSettings) -> dict[str, Tensor]:
    """Fit the voxels of one problem; a scan joins where the dictionary cannot know the optimum."""
    abat = torch.zeros_like(start[:, 0])
    if settings.arterial or problem.physics.arrays():
        att_range_ms = settings.ranges.att_range_ms
        atts, _ = att_grid(att_range_ms, _SCAN_MS, problem.protocol.kinks_ms)
        abats = arterial_grid(problem.protocol) if settings.arterial else []
        scanned, abat = scan_starts(problem, atts.tolist(), abats)
        if settings.arterial:
            problem = replace(problem, blood=problem.arriving(abat))
        start = _better(problem, start, scanned)
    points = _descend(problem, start, settings.n_iterations)
    spread = problem.spread(points)
    at_end = ((points <= problem.low) | (points >= problem.high))[:, :2].any(1)
    untold = ~problem.columns(points)[:, :, 1].any(1)
    return {
        "cbf": points[:, 0],
        "att": points[:, 1],
        "residual": problem.residuals(points).square().mean(1).sqrt(),
        "at_bound": at_end | untold,
        "cbf_sd": spread[:, 0],
        "att_sd": spread[:, 1],
        "abv": points[:, 2],
        "abat": abat * (points[:, 2] > 0),
    }


def _better(problem: CurveProblem, first: Tensor, second: Tensor) -> Tensor:
    """The points that fit better, voxel by voxel."""
    costs = [problem.residuals(points).square().sum(1, keepdim=True) for points in (first, second)]
    return torch.where(costs[1] < costs[0], second, first)


def _descend(problem: CurveProblem, points: Tensor, n_iterations: int) -> Tensor:
    """Damped steps until no voxel gets better."""
    points = points.clone()
    cost = problem.residuals(points).square().sum(1)
    damping = torch.full_like(cost, _FIRST_DAMPING)
    active = torch.arange(len(points), device=points.device)
    for iteration in range(n_iterations):
        part = problem.part(active)
        old, now = points[active], cost[active]
        trial = part.step(old, damping[active], _SIDE_MS * (iteration % 2))
        trial_cost = part.residuals(trial).square().sum(1)
        better = trial_cost < now
        points[active] = torch.where(better[:, None], trial, old)
        cost[active] = torch.where(better, trial_cost, now)
        factor = torch.where(better, 0.2, 10.0)
        damping[active] = (damping[active] * factor).clamp_min(_LEAST_DAMPING)
        settled = better & (now - trial_cost <= _CONVERGED * now)
        active = active[~(settled | (damping[active] > _MOST_DAMPING))]
        if not len(active):
            break
    return points
