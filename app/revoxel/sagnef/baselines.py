"""What a fusion is compared with: mixtures that need no gate, and oracles that see the truth."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from scipy import ndimage

from revoxel.sagnef.mixtures import median_of_experts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.core.metrics import Scores

    Volume = NDArray[np.float32]

#: A name, such as an expert.
Name = TypeVar("Name", bound=str)
CUBE_VOXELS = 9


class Baseline(StrEnum):
    """Rows that need no gate."""

    MEAN = "mean"
    MEDIAN = "median"
    BEST = "best expert"
    SIMPLEX = "simplex"
    ORACLE_VOLUME = "oracle: volume"
    ORACLE_CUBE = "oracle: 9-cube"
    ORACLE_VOXEL = "oracle: voxel"


#: Rows that see the truth, from the fairest bound to the least fair.
ORACLES = (Baseline.ORACLE_VOLUME, Baseline.ORACLE_CUBE, Baseline.ORACLE_VOXEL)


def mixture_volumes(
    experts: Mapping[Name, Volume], simplex: Mapping[Name, float] | None = None
) -> Iterator[tuple[str, Volume]]:
    """Mixtures without a gate, one at a time.

    Args:
        experts: Volumes by name, one shape and one unit.
        simplex: Global weight per expert, if some were fitted.

    Yields:
        Row and volume: mean, median, and the global mixture if there are weights.
    """
    share = 1.0 / len(experts)
    yield Baseline.MEAN, mix(experts, dict.fromkeys(experts, share))
    stack = torch.stack([torch.as_tensor(volume) for volume in experts.values()])[None]
    yield Baseline.MEDIAN, median_of_experts(stack)[0, 0].numpy()
    if simplex is not None:
        yield Baseline.SIMPLEX, mix(experts, simplex)


def oracle_volumes(experts: Mapping[Name, Volume], truth: Volume) -> Iterator[tuple[str, Volume]]:
    """What a choice among the experts could reach if it saw the truth.

    The best expert of a volume is another oracle, but no other volume: see `best_row`.

    Args:
        experts: Volumes by name, in the units of the truth.
        truth: `(i, j, k)`.

    Yields:
        Row and volume: per voxel the expert that is best in the cube of 9 voxels around it; and the value
        between the lowest and the highest expert that is nearest to the truth.
    """
    yield Baseline.ORACLE_CUBE, locally_best(experts, truth)
    volumes = list(experts.values())
    lowest, highest = np.minimum.reduce(volumes), np.maximum.reduce(volumes)
    yield Baseline.ORACLE_VOXEL, np.clip(truth, lowest, highest)


def mix(experts: Mapping[Name, Volume], weights: Mapping[Name, float]) -> Volume:
    """Blend with one weight per expert.

    Args:
        experts: Volumes by name.
        weights: Weight by name, summing to 1.

    Returns:
        The blend, in the units of the experts.
    """
    blend = np.zeros_like(next(iter(experts.values())))
    for name, volume in experts.items():
        if weights[name]:
            blend += np.float32(weights[name]) * volume
    return blend


def locally_best(experts: Mapping[Name, Volume], truth: Volume, side: int = CUBE_VOXELS) -> Volume:
    """Per voxel the expert with the least squared error in the cube around it.

    Args:
        experts: Volumes by name, in the units of the truth.
        truth: `(i, j, k)`.
        side: Side of the cube in voxels, odd.
    """
    least, chosen = np.full(truth.shape, np.inf, dtype=np.float32), np.empty_like(truth)
    for volume in experts.values():
        # Beyond the rim nothing is counted, for every expert alike.
        error = ndimage.uniform_filter(np.square(volume - truth), side, mode="constant")
        better = error < least
        np.copyto(least, error, where=better)
        np.copyto(chosen, volume, where=better)
    return chosen


def best_row(scores: Mapping[str, Scores], names: Sequence[str]) -> str:
    """The row with the least error: an oracle, because the truth chose it.

    Args:
        scores: Scores by row.
        names: Rows to choose from.
    """
    return min(names, key=lambda name: scores[name].rmse)
