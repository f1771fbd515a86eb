"""The two learned experts: a warm start, tuned on the volume's own planes, applied in both orientations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from revoxel.experts.names import Expert
from revoxel.experts.phase_net import Body, PhaseNet, PhaseNetConfig, super_resolve_planes
from revoxel.experts.phases import PhaseGrid
from revoxel.experts.problem import SliceProblem
from revoxel.experts.self_training import Degradation, TrainingPlan, train_on_planes
from revoxel.experts.sharpness import excess_sharpness
from revoxel.experts.warm_start import WarmStart

_PLANES_PER_BATCH = 16
_TUNING_SHARE = 0.9  # of the time


@dataclass(frozen=True)
class LearnedRecipe:
    """What tells one learned expert from the other.

    Args:
        expert: Whose recipe this is.
        body: Residual block.
        n_channels: Width of the network.
        n_blocks: Depth of the network.
        loss_power: 1 = absolute error, 2 = squared error.
        n_steps_warm: Steps on the volume itself after a warm start.
        n_steps_cold: Steps on the volume itself from nothing.
    """

    expert: Expert
    body: Body
    n_channels: int
    n_blocks: int
    loss_power: int
    n_steps_warm: int
    n_steps_cold: int


SMORE = LearnedRecipe(Expert.SMORE, Body.PLAIN, 32, 8, 1, n_steps_warm=350, n_steps_cold=1000)
ECLARE = LearnedRecipe(Expert.ECLARE, Body.WIDE, 32, 6, 2, n_steps_warm=400, n_steps_cold=1200)
RECIPES = {recipe.expert: recipe for recipe in (SMORE, ECLARE)}


@dataclass(frozen=True, eq=False)
class LearnedResult:
    """What a learned expert returns.

    Args:
        volume: `(x, y, n_high)`, float32.
        excess_sharpness: See `revoxel.experts.sharpness`.
    """

    volume: Tensor
    excess_sharpness: float


def super_resolve_learned(
    problem: SliceProblem,
    recipe: LearnedRecipe,
    warm: WarmStart | None,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    progress: Callable[[float], None] | None = None,
) -> LearnedResult:
    """Tune on the volume's own planes, then restore the slice axis.

    Args:
        problem: `low` is `(x, y, n_low)`.
        recipe: Which expert.
        warm: Weights to start from; `None` trains from nothing.
        seed: Seed of the weights and the patches.
        device: Where to compute.
        progress: Called with the share done.

    Returns:
        The mean of the two orientations, and how over-sharpened it is.
    """
    device = device or torch.device("cpu")
    network = start_network(problem.ratio, recipe, warm, seed).to(device)
    plan = TrainingPlan(
        n_steps=recipe.n_steps_cold if warm is None else recipe.n_steps_warm,
        learning_rate=2e-3 if warm is None else 1e-3,
        loss_power=recipe.loss_power,
        seed=seed,
    )
    in_pixels = problem.profile.with_std(problem.profile.std_mm / problem.spacing_high_mm)
    degradation = Degradation(problem.ratio, in_pixels, plan.n_low)
    planes = problem.low.permute(2, 0, 1).contiguous()
    report = progress or _silent
    train_on_planes(network, [planes], [degradation], plan, lambda share: report(_TUNING_SHARE * share))
    report(_TUNING_SHARE)
    fine = apply_network(network, problem, device)
    with torch.inference_mode():
        excess = excess_sharpness(lambda other: _pass(network, other, other.low, device), problem, fine)
    return LearnedResult(fine, excess)


def _silent(_share: float) -> None:
    pass


def start_network(ratio: float, recipe: LearnedRecipe, warm: WarmStart | None, seed: int) -> PhaseNet:
    """A network for this ratio: the warm start's weights, or fresh ones."""
    n_phases = round(ratio) if warm is None else warm.n_phases
    config = PhaseNetConfig(recipe.body, max(2, n_phases), recipe.n_blocks, recipe.n_channels)
    network = PhaseNet(config)
    if warm is None:
        # A generator of its own: experts that run side by side share the global one.
        network.draw_weights(torch.Generator().manual_seed(seed))
    else:
        network.load_state_dict(warm.weights)
    return network


@torch.inference_mode()
def apply_network(network: PhaseNet, problem: SliceProblem, device: torch.device) -> Tensor:
    """Mean of the xz and yz passes, `(x, y, n_high)`."""
    along_x = _pass(network, problem, problem.low, device)
    along_y = _pass(network, problem, problem.low.transpose(0, 1), device)
    return 0.5 * (along_x + along_y.transpose(0, 1))


def _pass(network: PhaseNet, problem: SliceProblem, low: Tensor, device: torch.device) -> Tensor:
    grid = PhaseGrid(problem.n_low, network.config.n_phases, problem.n_high, problem.ratio)
    batches = low.split(_PLANES_PER_BATCH)
    return torch.cat([super_resolve_planes(network, b.contiguous().to(device), grid).cpu() for b in batches])
