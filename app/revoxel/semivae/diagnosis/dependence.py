"""How far parts of a latent depend on each other: distance correlation, and correlation of means."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch

from revoxel.semivae.objective.dependence import MIN_SAMPLES, distance_correlations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


def part_dependence(mu: Numbers, parts: Mapping[str, slice]) -> dict[str, float]:
    """Dependence of every pair of parts under the names that trainings log.

    Args:
        mu: `(scan, latent)`.
        parts: Slice of each part, by name.

    Returns:
        `dcor/z_<a>_z_<b>`, the root of the unbiased squared distance correlation with its sign: 0 on average
        for independent parts; NaN of fewer than 4 scans. For comparison `semivae/corr_z_<a>_z_<b>`, the
        correlation of the parts' mean activations, which misses what cancels in a mean.
    """
    names = list(parts)
    table = _distance_correlations([mu[:, part] for part in parts.values()])
    found = {}
    for i, j in combinations(range(len(names)), 2):
        pair = f"z_{names[i]}_z_{names[j]}"
        means = (mu[:, parts[names[at]]].mean(axis=1) for at in (i, j))
        found[f"dcor/{pair}"] = float(table[i, j])
        found[f"semivae/corr_{pair}"] = _correlation(*means)
    return found


def _distance_correlations(groups: list[Numbers]) -> Numbers:
    if len(groups[0]) < MIN_SAMPLES:
        return np.full((len(groups), len(groups)), np.nan)
    samples = [torch.as_tensor(group) for group in groups]
    squared = distance_correlations(samples, [group[:0] for group in samples]).numpy()
    return np.sign(squared) * np.sqrt(np.abs(squared))


def _correlation(first: Numbers, second: Numbers) -> float:
    scale = first.std() * second.std()
    both = ((first - first.mean()) * (second - second.mean())).mean()
    return float(both / scale) if scale > 0 else 0.0
