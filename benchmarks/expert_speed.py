"""Speed of the experts: the package's way against plain float32 torch.

    python benchmarks/expert_speed.py [--quick] [--threads N]

Bargain: 3 minutes on 2 idle cores (--quick, a third of the volume: 1 minute). The volume is a synthetic head
of 240 x 240 x 155 voxels in 5 mm slices. "stock" is, for UNIRES, the same iteration on the whole volume at
once, every operation into new memory; for tuning and application of the networks, float32 in the contiguous
layout, patches cut one by one; for the three slower experts, one after the other, each on all threads (tuning
cut short; one thread leaves nothing to schedule). `experts.py` shows their quality and whole times.
The limits: an iteration reads and writes a volume and its three dual fields once; the networks' convolutions
run at the highest measured rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from gate_inference import QUICK_SHAPE, SHAPE
from pairs import Row, Seconds, compare, convolving, copying, in_turns, parser, show, timed
from scaling_work import thick_problem
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from revoxel.core.compute import set_threads
from revoxel.experts.bspline import bspline
from revoxel.experts.learned import (
    RECIPES,
    LearnedRecipe,
    apply_network,
    start_network,
    super_resolve_learned,
)
from revoxel.experts.phase_net import PhaseNet
from revoxel.experts.phases import PhaseGrid
from revoxel.experts.problem import SliceProblem
from revoxel.experts.schedule import Report, side_by_side
from revoxel.experts.self_training import Degradation, TrainingPlan, train_on_planes
from revoxel.experts.unires import UniresSettings, noise_std, unires
from revoxel.experts.warm_start import load_warm_start

SLICE_MM = 5.0
REFERENCE_VOXELS = 5e6
FLOAT_BYTES = 4
N_FIELDS = 4
PLANES_PER_BATCH = 16
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        shape: Voxels of the head.
        n_turns: Turns that count.
        n_plain_iterations: Iterations of the plain UNIRES; its time is scaled to those of the package.
        n_steps: Tuning steps of one turn.
        n_scheduled_steps: Tuning steps of each network where the schedule is measured.
    """

    shape: tuple[int, int, int]
    n_turns: int
    n_plain_iterations: int
    n_steps: int
    n_scheduled_steps: int


FULL = Size(SHAPE, 2, 4, 40, 20)
QUICK = Size(QUICK_SHAPE, 2, 4, 15, 8)


def plain_unires(problem: SliceProblem, n_iterations: int) -> Tensor:
    """The primal-dual iteration as it is written down: whole volume, one formula per line."""
    settings, matrix = UniresSettings(), problem.operator.matrix
    step, relaxation = settings.step, settings.relaxation
    strength = max(settings.strength_floor, settings.strength_per_noise * noise_std(problem.low))
    identity = torch.eye(problem.n_high, dtype=torch.float64)
    inverse = torch.linalg.inv(identity + step * matrix.T @ matrix).float()
    target = step * problem.operator.adjoint(problem.low)
    primal = bspline(problem)
    dual = torch.zeros(3, *primal.shape)
    for _ in range(n_iterations):
        ends = (field.narrow(axis, 0, 1) * 0 for axis, field in enumerate(dual))
        parts = (
            torch.diff(f, dim=axis, prepend=end) for axis, (f, end) in enumerate(zip(dual, ends, strict=True))
        )
        moved = (primal + step * sum(parts) + target) @ inverse
        ahead = 2 * moved - primal
        slopes = [torch.diff(ahead, dim=axis, append=ahead.narrow(axis, -1, 1)) for axis in range(3)]
        trial = dual + torch.stack(slopes) / (12 * step)
        length = trial.square().sum(0).sqrt() / strength
        dual = dual + relaxation * (trial / length.clamp(min=1) - dual)
        primal = primal + relaxation * (moved - primal)
    return primal


def fresh_network(recipe: LearnedRecipe, problem: SliceProblem) -> PhaseNet:
    """The network of a warm start, float32 and contiguous."""
    return start_network(problem.ratio, recipe, load_warm_start(recipe.expert, problem.ratio), 0)


def own_tuning(recipe: LearnedRecipe, problem: SliceProblem, plan: TrainingPlan) -> None:
    """Tuning as the package does it."""
    degradation = Degradation(problem.ratio, problem.profile, plan.n_low)
    planes = problem.low.permute(2, 0, 1).contiguous()
    train_on_planes(fresh_network(recipe, problem), [planes], [degradation], plan)


def plain_tuning(recipe: LearnedRecipe, problem: SliceProblem, plan: TrainingPlan) -> None:
    """The same steps in float32, contiguous, with torch's defaults."""
    network = fresh_network(recipe, problem).train()
    degradation = Degradation(problem.ratio, problem.profile, plan.n_low)
    grid = PhaseGrid(plan.n_low, network.config.n_phases, degradation.n_high, problem.ratio)
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    inside = slice(degradation.margin, degradation.margin + degradation.n_high)
    generator = np.random.default_rng(0)
    for _ in range(plan.n_steps):
        fine = plain_patches(problem.low, plan, degradation.length, generator)
        low = fine @ degradation.matrix.T
        error = network(low) + low @ grid.skip() - fine[..., inside]
        loss = error.abs().mean() if plan.loss_power == 1 else error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.3)
        optimizer.step()


def plain_patches(low: Tensor, plan: TrainingPlan, length: int, generator: np.random.Generator) -> Tensor:
    """Patches anywhere, cut one by one."""
    free = np.subtract(low.shape, (plan.height, length, 1)).astype(int)
    starts = generator.integers(0, free + 1, size=(plan.batch_size, 3))
    return torch.stack([low[x : x + plan.height, y : y + length, z] for x, y, z in starts])


@torch.inference_mode()
def plain_application(network: PhaseNet, problem: SliceProblem) -> Tensor:
    """Both orientations in float32, contiguous."""
    skip = PhaseGrid(problem.n_low, network.config.n_phases, problem.n_high, problem.ratio).skip()
    passes = [
        torch.cat([network(planes) + planes @ skip for planes in low.contiguous().split(PLANES_PER_BATCH)])
        for low in (problem.low, problem.low.transpose(0, 1))
    ]
    return (passes[0] + passes[1].transpose(0, 1)) / 2


def operations_per_pixel(network: PhaseNet, *, training: bool) -> float:
    """Operations of the convolutions per pixel of a plane of thick slices."""
    planes = torch.rand(1, 32, 12)
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(training):
        fine = network(planes)
        if training:
            fine.sum().backward()
    return counter.get_total_flops() / planes.numel()


def turns(
    ours: Callable[[], object], stock: Callable[[], object], size: Size, scales: tuple[float, float]
) -> tuple[list[Seconds], list[Seconds]]:
    """Both ways in turns, their seconds multiplied by `scales`."""
    seconds = in_turns({"ours": lambda: timed(ours), "stock": lambda: timed(stock)}, size.n_turns)
    own, other = (
        [Seconds(turn.clock * scale, turn.processor * scale) for turn in seconds[way]]
        for way, scale in zip(("ours", "stock"), scales, strict=True)
    )
    return own, other


def unires_rows(problem: SliceProblem, size: Size) -> list[Row]:
    """UNIRES, scaled to five million voxels."""
    n_voxels = problem.low[..., 0].numel() * problem.n_high
    per_volume, n_iterations = REFERENCE_VOXELS / n_voxels, UniresSettings().n_iterations
    seconds = turns(
        partial(unires, problem),
        partial(plain_unires, problem, size.n_plain_iterations),
        size,
        (per_volume, per_volume * n_iterations / size.n_plain_iterations),
    )
    limit = copying(FLOAT_BYTES * N_FIELDS * REFERENCE_VOXELS * n_iterations)
    return rows("UNIRES, 5 million voxels", seconds, (limit, "memory bandwidth"))


def network_rows(recipe: LearnedRecipe, problem: SliceProblem, size: Size) -> list[Row]:
    """One tuning step of a network, and its application to five million voxels."""
    plan = TrainingPlan(size.n_steps, loss_power=recipe.loss_power)
    network = fresh_network(recipe, problem)
    tuned = start_network(problem.ratio, recipe, None, 0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = turns(
        partial(own_tuning, recipe, problem, plan),
        partial(plain_tuning, recipe, problem, plan),
        size,
        (1 / plan.n_steps, 1 / plan.n_steps),
    )
    per_volume = REFERENCE_VOXELS / (problem.low[..., 0].numel() * problem.n_high)
    application = turns(
        partial(apply_network, tuned, problem, CPU),
        partial(plain_application, network, problem),
        size,
        (per_volume, per_volume),
    )
    n_step = operations_per_pixel(network, training=True) * plan.batch_size * plan.height * plan.n_low
    n_volume = operations_per_pixel(network, training=False) * 2 * problem.low.numel() * per_volume
    rate = "peak convolution rate"
    return [
        *rows(f"{recipe.expert.value}, one tuning step", step, (convolving(n_step), rate)),
        *rows(f"{recipe.expert.value} applied, 5 million voxels", application, (convolving(n_volume), rate)),
    ]


def schedule_rows(problem: SliceProblem, size: Size) -> list[Row]:
    """The experts as the package schedules them, against one after the other."""

    def job(recipe: LearnedRecipe, _report: Report) -> None:
        short = replace(recipe, n_steps_warm=size.n_scheduled_steps)
        super_resolve_learned(problem, short, load_warm_start(recipe.expert, problem.ratio))

    learned = {expert.value: partial(job, recipe) for expert, recipe in RECIPES.items()}

    def scheduled() -> None:
        unires(problem)
        side_by_side(learned, lambda _name, _share: None)

    def one_after_the_other() -> None:
        unires(problem)
        for run in learned.values():
            run(lambda _share: None)

    plan = TrainingPlan(size.n_scheduled_steps)
    n_pixels = plan.n_steps * plan.batch_size * plan.height * plan.n_low
    networks = [fresh_network(recipe, problem) for recipe in RECIPES.values()]
    operations = sum(
        operations_per_pixel(network, training=True) * n_pixels
        + operations_per_pixel(network, training=False) * 2 * problem.low.numel()
        for network in networks
    )
    what = f"three experts, {size.n_scheduled_steps} tuning steps"
    limit = (convolving(operations), "peak convolution rate")
    return rows(what, turns(scheduled, one_after_the_other, size, (1.0, 1.0)), limit)


def rows(what: str, seconds: tuple[list[Seconds], list[Seconds]], limit: tuple[Seconds, str]) -> list[Row]:
    """One row by the clock, one by the processor."""
    return [compare(what, *seconds, limit, processor=processor) for processor in (False, True)]


def main() -> None:
    """Print the rows."""
    options = parser(__doc__).parse_args()
    n_threads = set_threads(options.threads)
    size = QUICK if options.quick else FULL
    problem = thick_problem(size.shape)
    found = unires_rows(problem, size)
    for recipe in RECIPES.values():
        found += network_rows(recipe, problem, size)
    if n_threads > 1:
        found += schedule_rows(problem, size)
    shape = (*problem.low.shape[:2], problem.n_high)
    show(found, f"experts on {shape} voxels, {n_threads} threads", options.rows)


if __name__ == "__main__":
    main()
