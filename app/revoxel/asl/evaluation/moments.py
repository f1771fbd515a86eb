"""Sums over voxels per phantom and region, and the statistics that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import spearmanr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from revoxel.asl.evaluation.regions import Region, Stack, Target, Truth
    from revoxel.asl.quantification.estimation import PerfusionMaps

SD_68, SD_95 = 1.0, 1.96
_FEWEST_FOR_RANKS = 10


class Pair(NamedTuple):
    """A method and the truth.

    Attributes:
        method: Name.
        target: CBF or ATT.
        estimates: Maps of all methods.
        truth: What they are held against.
        valid: Voxels with finite numbers, by method.
        shared: Voxels of the mask that are valid for every method.
    """

    method: str
    target: Target
    estimates: Mapping[str, PerfusionMaps]
    truth: Truth
    valid: Mapping[str, Stack]
    shared: Stack

    def error(self, method: str) -> Stack:
        """Estimate minus truth; 0 outside the mask and where the estimate is not finite.

        Args:
            method: Name.
        """
        estimate = getattr(self.estimates[method], self.target)
        usable = self.valid[method] & self.truth.mask
        return np.where(usable, estimate, 0.0) - np.where(usable, getattr(self.truth, self.target), 0.0)


def sums_over_regions(
    pair: Pair, regions: Mapping[Region, Stack], references: Sequence[str]
) -> dict[str, Stack]:
    """Sums of everything that a statistic needs.

    Args:
        pair: The method and the truth.
        regions: Masks.
        references: Methods to which win rates refer.

    Returns:
        By name, `(region, phantom)` each.
    """
    truth = np.where(pair.shared, getattr(pair.truth, pair.target), 0.0).astype(np.float64)
    error = np.where(pair.shared, pair.error(pair.method), 0.0).astype(np.float64)
    shared = pair.shared.astype(np.float64)
    terms = {
        "n": shared,
        "n_mask": pair.truth.mask,
        "n_valid": pair.truth.mask & pair.valid[pair.method],
        "truth": truth,
        "truth2": truth**2,
        "error": error,
        "error2": error**2,
        "absolute": np.abs(error),
        "error_truth": error * truth,
    }
    terms |= {f"win_{name}": _wins(pair, name) for name in references if name != pair.method}
    bound = getattr(pair.truth, f"{pair.target}_bound")
    if bound is not None:
        told = pair.shared & np.isfinite(bound) & (bound > 0)
        terms |= {"n_bound": told, "over_bound2": (error / np.where(told, bound, np.inf)) ** 2}
    sd = getattr(pair.estimates[pair.method], f"{pair.target}_sd")
    if sd is not None:
        terms |= {
            "inside68": shared * (np.abs(error) <= SD_68 * sd),
            "inside95": shared * (np.abs(error) <= SD_95 * sd),
        }
    sums = _over(terms, regions)
    return sums if sd is None else sums | _rank_sums(np.abs(error), sd, pair.shared, regions)


def _over(terms: Mapping[str, Stack], regions: Mapping[Region, Stack]) -> dict[str, Stack]:
    n_phantoms = len(next(iter(regions.values())))
    inside = np.stack(list(regions.values())).reshape(len(regions), n_phantoms, -1).astype(np.float64)
    return {
        name: np.einsum("rpv,pv->rp", inside, values.reshape(n_phantoms, -1).astype(np.float64))
        for name, values in terms.items()
    }


def _wins(pair: Pair, reference: str) -> Stack:
    """1 where the method is nearer to the truth, 0.5 for a tie, over the whole mask."""
    mine, theirs = np.abs(pair.error(pair.method)), np.abs(pair.error(reference))
    mine = np.where(pair.valid[pair.method], mine, np.inf)
    theirs = np.where(pair.valid[reference], theirs, np.inf)
    return pair.truth.mask * ((mine < theirs) + 0.5 * (mine == theirs))


def _rank_sums(
    absolute: Stack, sd: Stack, shared: Stack, regions: Mapping[Region, Stack]
) -> dict[str, Stack]:
    """Spearman's correlation of error and stated sd within each phantom, and how many phantoms have one."""
    ranks = np.zeros((2, len(regions), len(shared)))
    for row, region in enumerate(regions.values()):
        for column, inside in enumerate(region & shared):
            errors, sds = absolute[column][inside], sd[column][inside]
            if len(errors) >= _FEWEST_FOR_RANKS and np.ptp(errors) > 0 and np.ptp(sds) > 0:
                ranks[:, row, column] = spearmanr(errors, sds).statistic, 1
    return {"spearman": ranks[0], "n_spearman": ranks[1]}


def statistics_of(sums: Mapping[str, Stack], weights: Stack) -> dict[str, Stack]:
    """Statistics of weighted phantoms.

    Args:
        sums: From `sums_over_regions`.
        weights: How often each phantom counts, `(phantom, draw)`.

    Returns:
        By name, `(region, draw)` each.
    """
    total = {name: values @ weights for name, values in sums.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        n = total["n"]
        spread = total["truth2"] - total["truth"] ** 2 / n
        found = {
            "n": n,
            "mae": total["absolute"] / n,
            "rmse": np.sqrt(total["error2"] / n),
            "bias": total["error"] / n,
            # The slope of estimate on truth is 1 + that of the error on the truth.
            "slope": 1 + (total["error_truth"] - total["error"] * total["truth"] / n) / spread,
            "r2": 1 - total["error2"] / spread,
            "mean": (total["truth"] + total["error"]) / n,
            "valid_fraction": total["n_valid"] / total["n_mask"],
        }
        found |= {name: values / total["n_mask"] for name, values in total.items() if name.startswith("win_")}
        if "n_bound" in total:
            found["rmse_over_crb"] = np.sqrt(total["over_bound2"] / total["n_bound"])
        if "inside68" in total:
            found |= {"coverage68": total["inside68"] / n, "coverage95": total["inside95"] / n}
            found["error_sd_spearman"] = total["spearman"] / total["n_spearman"]
    return found
