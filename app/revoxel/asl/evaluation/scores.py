"""Scores of CBF and ATT maps against the truth, over one and the same set of voxels for every method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from revoxel.asl.evaluation.moments import Pair, statistics_of, sums_over_regions
from revoxel.asl.evaluation.regions import Region, Target, check_same_voxels, named_maps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from revoxel.asl.evaluation.regions import Stack, Truth
    from revoxel.asl.quantification.estimation import PerfusionMaps

_N_BOOTSTRAP = 1000


class Interval(NamedTuple):
    """A statistic with the 95 % interval of a bootstrap over phantoms."""

    value: float
    low: float
    high: float


def score(
    estimates: Mapping[str, PerfusionMaps], truth: Truth, references: Sequence[str] = (), *, seed: int = 0
) -> Scores:
    """Score methods against the truth, all of them over the same voxels.

    A voxel for which one method gives no finite number is left out for all of them, counts as lost in that
    method's win rates, and lowers its `valid_fraction`.

    Args:
        estimates: Maps by the name of the method.
        truth: What they are held against.
        references: Methods to which win rates refer.
        seed: Of the bootstrap.

    Returns:
        The scores.

    Raises:
        ValueError: If maps have not the shape of the truth, a reference is none of the methods, or no voxel
            is left.
    """
    check_same_voxels(estimates, truth)
    missing = set(references) - set(estimates)
    if missing:
        msg = (
            f"references must be methods ({', '.join(estimates)}), got {sorted(missing)}; estimate them too."
        )
        raise ValueError(msg)
    valid: dict[str, Stack] = {
        name: np.isfinite(np.stack(list(named_maps(maps).values()))).all(axis=0)
        for name, maps in estimates.items()
    }
    shared = truth.mask & np.stack(list(valid.values())).all(axis=0)
    if not shared.any():
        msg = "the methods must share voxels with a finite result, got none; look at their valid fractions."
        raise ValueError(msg)
    regions = truth.regions()
    sums = {
        (name, target): sums_over_regions(
            Pair(name, target, estimates, truth, valid, shared), regions, references
        )
        for name in estimates
        for target in Target
    }
    return Scores(tuple(estimates), tuple(regions), sums, seed)


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums over voxels per phantom and region, from which every statistic and its interval follow.

    Attributes:
        methods: Names.
        regions: Regions.
        sums: By (method, target) and name of the sum: `(region, phantom)`.
        seed: Of the bootstrap.
    """

    methods: tuple[str, ...]
    regions: tuple[Region, ...]
    sums: Mapping[tuple[str, Target], Mapping[str, Stack]]
    seed: int = 0

    @property
    def n_phantoms(self) -> int:
        """Phantoms scored."""
        return next(iter(self.sums.values()))["n"].shape[1]

    def statistics(self, method: str, target: Target) -> dict[str, Stack]:
        """Statistics over all phantoms, `(region,)` each.

        Args:
            method: Name.
            target: CBF or ATT.

        Returns:
            By name: `n`, `mae`, `rmse`, `bias`, `slope`, `r2`, `mean`, `valid_fraction`, `win_<reference>`
            and, where they can be had, `rmse_over_crb`, `coverage68`, `coverage95`, `error_sd_spearman`.
        """
        return {
            name: values[:, 0]
            for name, values in statistics_of(
                self.sums[method, target], np.ones((self.n_phantoms, 1))
            ).items()
        }

    def intervals(self, method: str, target: Target, region: Region = Region.BRAIN) -> dict[str, Interval]:
        """The same for one region, with intervals.

        Args:
            method: Name.
            target: CBF or ATT.
            region: Voxels.

        Returns:
            By name.
        """
        at = self.regions.index(region)
        drawn = statistics_of(self.sums[method, target], self._resamples)
        return {
            name: _interval(float(values[at]), drawn[name][at])
            for name, values in self.statistics(method, target).items()
        }

    def grey_over_white(self, method: str) -> float:
        """Mean CBF of grey matter over that of white matter, as the method sees them.

        Args:
            method: Name.

        Returns:
            The ratio; in healthy people 2 to 3.
        """
        mean = self.statistics(method, Target.CBF)["mean"]
        grey, white = (
            mean[self.regions.index(region)] for region in (Region.GREY_MATTER, Region.WHITE_MATTER)
        )
        return float(grey / white)

    @cached_property
    def _resamples(self) -> Stack:
        """How often each phantom is drawn, `(phantom, draw)`."""
        n = self.n_phantoms
        return np.random.default_rng(self.seed).multinomial(n, np.full(n, 1 / n), _N_BOOTSTRAP).T


def _interval(value: float, drawn: Stack) -> Interval:
    usable = drawn[np.isfinite(drawn)]
    if not usable.size:
        return Interval(value, np.nan, np.nan)
    low, high = np.percentile(usable, (2.5, 97.5))
    return Interval(value, float(low), float(high))
