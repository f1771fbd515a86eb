"""Self-supervised training of a phase network on planes that are sharp in both directions.

Each step degrades patches of sharp planes along one in-plane axis with the slice profile and asks the network
to undo it (Zhao et al., "SMORE", IEEE TMI 2021, the same idea as ECLARE, arXiv 2503.11787). No ground truth
along the slice axis is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from revoxel.experts.phase_net import PhaseNet, super_resolve_planes
from revoxel.experts.phases import PhaseGrid
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import slice_weights

_RIM = 4  # rows at a patch's sides that see the network's zero padding


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how to train.

    Args:
        n_steps: Optimiser steps.
        learning_rate: Peak of the one-cycle schedule.
        loss_power: 1 = absolute error, 2 = squared error.
        batch_size: Patches per step.
        height: Patch size across the degraded axis, in pixels.
        n_low: Patch size along the degraded axis, in slices.
        seed: Seed of patch choice.
    """

    n_steps: int
    learning_rate: float = 1e-3
    loss_power: int = 1
    batch_size: int = 32
    height: int = 32
    n_low: int = 12
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Degradation:
    """Thick slices of a patch of fine lines that is longer than the slices' field of view.

    Args:
        ratio: Slice separation in pixels.
        profile: Slice profile with its width in pixels instead of mm.
        n_low: Slices per patch.
    """

    ratio: float
    profile: SliceProfile
    n_low: int
    matrix: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Build the `(n_low, length)` matrix."""
        pixels = np.arange(self.length) - self.margin + 0.5
        centres = (np.arange(self.n_low) + 0.5) * self.ratio
        weights = slice_weights(pixels[None, :] - centres[:, None], 1.0, self.profile)
        object.__setattr__(self, "matrix", torch.from_numpy(weights).to(torch.float32))

    @property
    def margin(self) -> int:
        """Pixels before and after the field of view that the outer slices still see."""
        return math.ceil(2.5 * self.profile.std_mm)

    @property
    def n_high(self) -> int:
        """Pixels in the field of view."""
        return math.ceil(self.n_low * self.ratio - 1e-3)

    @property
    def length(self) -> int:
        """Pixels of a patch along the degraded axis."""
        return self.n_high + 2 * self.margin


def train_on_planes(
    network: PhaseNet,
    stacks: Sequence[Tensor],
    degradations: Sequence[Degradation],
    plan: TrainingPlan,
    progress: Callable[[float], None] | None = None,
) -> float:
    """Train in place; returns the mean loss of the last tenth of the steps.

    Args:
        network: The network, on its device.
        stacks: Sharp planes, each `(plane, height, width)`, scaled so that tissue is about 0 to 1.
        degradations: One is drawn per step; all of one `n_low` and ratio.
        plan: Steps, learning rate, loss, patch size.
        progress: Called with the share done.

    Raises:
        ValueError: If no plane is large enough for a patch.
    """
    sampler = _PatchSampler(stacks, plan, max(d.length for d in degradations))
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.learning_rate, total_steps=plan.n_steps, pct_start=0.1
    )
    device = next(network.parameters()).device
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recent: list[float] = []
    for step in range(plan.n_steps):
        degradation = degradations[int(sampler.generator.integers(len(degradations)))]
        fine = sampler.draw(degradation.length).to(device)
        loss = _step_loss(network, fine, degradation, plan)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.3, foreach=True)
        optimizer.step()
        schedule.step()
        if step >= plan.n_steps - max(1, plan.n_steps // 10):
            recent.append(float(loss.detach()))
        if progress is not None and step % 5 == 0:
            progress(step / plan.n_steps)
    network.eval()
    return float(np.mean(recent))


def _step_loss(network: PhaseNet, fine: Tensor, degradation: Degradation, plan: TrainingPlan) -> Tensor:
    low = fine @ degradation.matrix.T.to(fine.device)
    grid = PhaseGrid(degradation.n_low, network.config.n_phases, degradation.n_high, degradation.ratio)
    restored = super_resolve_planes(network, low, grid)
    truth = fine[..., degradation.margin : degradation.margin + degradation.n_high]
    edge = math.ceil(degradation.ratio)
    error = (restored - truth)[:, _RIM:-_RIM, edge:-edge]
    return error.abs().mean() if plan.loss_power == 1 else error.square().mean()


class _PatchSampler:
    """Random patches, centred on tissue with a preference for edges."""

    def __init__(self, stacks: Sequence[Tensor], plan: TrainingPlan, length: int) -> None:
        self.generator = np.random.default_rng(plan.seed)
        self.plan = plan
        half = max(length, plan.height) // 2 + 1
        padded = [_reflect_pad(stack, half) for stack in stacks]
        centres = [_edge_centres(stack, half, self.generator) for stack in padded]
        starts = np.cumsum([0, *(stack.numel() for stack in padded)])
        widths = [np.full(len(found), stack.shape[2]) for found, stack in zip(centres, padded, strict=True)]
        # Every stack in one line of pixels, so that a batch is one gather.
        self.pixels = torch.cat([stack.flatten() for stack in padded])
        self.centres = np.concatenate([start + found for start, found in zip(starts, centres, strict=False)])
        self.widths = np.concatenate(widths)
        if not len(self.centres):
            msg = (
                "the planes must hold tissue to train on, got planes without any structure; check the input."
            )
            raise ValueError(msg)

    def draw(self, length: int) -> Tensor:
        """One batch `(batch, height, length)`, random planes, orientations and flips."""
        n_patches, height = self.plan.batch_size, self.plan.height
        chosen = self.generator.integers(len(self.centres), size=n_patches)
        turned = self.generator.random(n_patches) < 0.5
        flips = self.generator.choice((-1, 1), size=(2, n_patches))
        widths = self.widths[chosen]
        down, right = flips * np.where(turned, (np.ones_like(widths), widths), (widths, np.ones_like(widths)))
        rows, columns = np.arange(height) - height // 2, np.arange(length) - length // 2
        lines = self.centres[chosen, None] + down[:, None] * rows
        return self.pixels[torch.from_numpy(lines[..., None] + right[:, None, None] * columns)]


def _reflect_pad(stack: Tensor, half: int) -> Tensor:
    reach = min(half, *(side - 1 for side in stack.shape[1:]))
    padded = torch.nn.functional.pad(stack[None], (reach,) * 4, mode="reflect")[0]
    rest = half - reach
    return torch.nn.functional.pad(padded[None], (rest,) * 4, mode="replicate")[0] if rest else padded


def _edge_centres(stack: Tensor, half: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Places in the padded stack's line of pixels, the more the stronger the edge."""
    inner = stack[:, half:-half, half:-half]
    slope = torch.zeros_like(inner)
    slope[:, 1:] += (inner[:, 1:] - inner[:, :-1]).abs()
    slope[:, :, 1:] += (inner[:, :, 1:] - inner[:, :, :-1]).abs()
    chance = (slope + 0.02 * (inner > 0.05)).flatten().double().numpy()
    if chance.sum() <= 0:
        return np.empty(0, dtype=np.int64)
    # Systematic resampling: proportional to edge strength without a table of all voxels.
    points = (np.arange(20000) + generator.random()) / 20000 * chance.sum()
    flat = np.searchsorted(np.cumsum(chance), points).clip(0, chance.size - 1)
    plane, row, column = np.unravel_index(flat, inner.shape)
    return np.ravel_multi_index((plane, row + half, column + half), stack.shape)
