"""Weights that a fold's training patients give: best expert, simplex, cautious weights, tiles.

All come from one pass over the training volumes that keeps small sums per volume and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.metrics import range_of
from revoxel.experts.names import Expert
from revoxel.sagnef.gates import cautious_weights
from revoxel.sagnef.profile_trust import WIDTH_TOLERANCE
from revoxel.sagnef.regions import brain_region
from revoxel.sagnef.simplex import fit_simplex
from revoxel.sagnef.tiles import TileStatistics, fit_tiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.core.manifest import Case
    from revoxel.sagnef.comparison.volumes import CaseVolumes


@dataclass(frozen=True, eq=False)
class FoldWeights:
    """What the training patients of a fold say about the experts of one spacing and pulse.

    Args:
        best: Expert with the least squared error.
        simplex: Global weight by expert.
        cautious: Global weight by expert, for experts that were told too wide a profile.
        tiles: `(6, 8, 6, expert)`.
        notes: Where the weights come from, if not from the fold.
    """

    best: Expert
    simplex: Mapping[Expert, float]
    cautious: Mapping[Expert, float]
    tiles: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """For JSON; the tiles as their mean over the head."""
        return {**asdict(self), "tiles": self.tiles.mean(axis=(0, 1, 2)).round(4)}


def told_too_wide(case: Case) -> bool:
    """Whether a row's experts were told a profile much wider than the scan suggests.

    Args:
        case: Row of a manifest.
    """
    estimated, assumed, _ = case.planes()
    return assumed > (1 + WIDTH_TOLERANCE) * estimated


def case_statistics(volumes: CaseVolumes) -> TileStatistics:
    """Sums of one training volume over its brain, scaled so that every volume weighs alike.

    Args:
        volumes: Experts and truth.
    """
    brain = brain_region(volumes.truth, volumes.margin)
    if brain.mask is None:
        raise RuntimeError(brain.description)
    scale = np.float32(1 / range_of(volumes.truth, brain.mask))
    experts = [volumes.cut(volume) * scale for volume in volumes.experts.values()]
    return TileStatistics.of_volume(experts, volumes.truth * scale, brain.mask, volumes.grid.affine)


def fit_fold(
    order: Sequence[Expert], trusted: Sequence[TileStatistics], misled: Sequence[TileStatistics]
) -> FoldWeights:
    """Fit all weights.

    Args:
        order: Experts in the order of the statistics.
        trusted: Training volumes of one spacing and pulse whose experts were told about the right profile.
        misled: Training volumes of any kind whose experts were told too wide a profile.

    Raises:
        ValueError: If there is no trusted training volume.
    """
    if not trusted:
        msg = (
            "the fold's training patients must have a row of every evaluated spacing and pulse whose experts "
            "were told the right profile, got none; add rows or choose other --spacings, --pulses."
        )
        raise ValueError(msg)
    tiles = reduce(add, trusted)
    pooled = tiles.pooled()
    errors = [pooled.mean_squared_error(weights) for weights in np.eye(len(order))]
    cautious, notes = _cautious(order, misled)
    return FoldWeights(
        best=order[int(np.argmin(errors))],
        simplex=_by_expert(order, fit_simplex(pooled)),
        cautious=cautious,
        tiles=fit_tiles(tiles),
        notes=notes,
    )


def _cautious(
    order: Sequence[Expert], misled: Sequence[TileStatistics]
) -> tuple[dict[Expert, float], tuple[str, ...]]:
    if misled:
        return _by_expert(order, fit_simplex(reduce(add, misled).pooled())), ()
    shipped = cautious_weights()
    total = sum(shipped[expert] for expert in order)
    note = "cautious weights are the shipped ones: no training row was told too wide a profile"
    return {expert: shipped[expert] / total if total else 1 / len(order) for expert in order}, (note,)


def _by_expert(order: Sequence[Expert], weights: NDArray[np.float64]) -> dict[Expert, float]:
    return {expert: float(weight) for expert, weight in zip(order, weights, strict=True)}
