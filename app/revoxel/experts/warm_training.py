"""Train the shipped warm starts: `python -m revoxel.experts.warm_training VOLUME... --ratio 5 -o FOLDER`.

Only planes that are sharp in both directions are used, and no ground truth along the slice axis. About three
minutes per expert and ratio on two cores.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from revoxel.experts.learned import RECIPES, LearnedRecipe, start_network
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.self_training import Degradation, TrainingPlan, train_on_planes
from revoxel.experts.warm_start import NOMINAL_RATIOS, WarmStart, load_warm_start, save_warm_start

_LOG = logging.getLogger(__name__)


def train_warm_start(
    recipe: LearnedRecipe,
    stacks: Sequence[Tensor],
    ratio: int,
    n_steps: int,
    *,
    body: WarmStart | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Weights trained on the planes of many volumes.

    The slice width varies around the nominal one, so that the start suits the widths that tuning will meet.

    Args:
        recipe: Which expert.
        stacks: Sharp planes per volume, `(plane, height, width)`, tissue about 0 to 1.
        ratio: Slice separation in pixels.
        n_steps: Optimiser steps.
        body: Warm start of another ratio; all but its last layer is taken over, which saves half the steps.
        seed: Seed of the weights and the patches.
    """
    network = start_network(ratio, recipe, None, seed)
    if body is not None:
        kept = {name: value for name, value in body.weights.items() if not name.startswith("tail.")}
        network.load_state_dict(kept, strict=False)
    plan = TrainingPlan(n_steps=n_steps, learning_rate=2e-3, loss_power=recipe.loss_power, seed=seed)
    profiles = [SliceProfile.gauss(width * ratio) for width in (0.75, 1.0, 1.0, 1.0)]
    train_on_planes(network, stacks, [Degradation(ratio, p, plan.n_low) for p in profiles], plan)
    return network.state_dict()


def read_planes(path: Path) -> Tensor:
    """Planes across the slice axis (the third axis if isotropic), scaled by the 99.9 percentile of tissue."""
    from revoxel.core.volumes import read_volume

    volume = read_volume(path)
    spacing = volume.grid.spacing_mm
    axis = spacing.index(max(spacing)) if max(spacing) > 1.2 * min(spacing) else 2
    planes = torch.from_numpy(volume.data).movedim(axis, 0)
    occupied = planes[planes > 0]
    return (planes / torch.quantile(occupied[:: max(1, occupied.numel() // 100_000)], 0.999)).contiguous()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train warm starts of the learned experts.")
    parser.add_argument("volumes", nargs="+", type=Path, help="NIfTI volumes with sharp planes")
    parser.add_argument("--experts", nargs="+", default=[e.value for e in RECIPES], choices=list(RECIPES))
    parser.add_argument("--ratio", type=int, choices=NOMINAL_RATIOS, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--body-from", type=int, choices=NOMINAL_RATIOS, help="ratio to take the body from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the weights")
    options = parser.parse_args(arguments)
    stacks = [read_planes(path) for path in options.volumes]
    for name in options.experts:
        recipe = RECIPES[Expert(name)]
        body = options.body_from and load_warm_start(recipe.expert, options.body_from, options.out)
        weights = train_warm_start(
            recipe, stacks, options.ratio, options.steps, body=body or None, seed=options.seed
        )
        path = options.out / f"{name.lower()}_x{options.ratio}.pt"
        save_warm_start(path, Expert(name), weights, options.ratio)
        _LOG.info("wrote %s", path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
