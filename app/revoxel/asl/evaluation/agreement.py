"""Checks beside errors: linearity of CBF, agreement of two methods in vivo, signs of unusual data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import pearsonr, rankdata

from revoxel.asl.physics import AslPhysics, signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.asl.protocol import AslProtocol

    Map = NDArray[Any]


def linearity(true_cbf: Map, estimated_cbf: Map) -> dict[str, float]:
    """How nearly estimates are proportional to the truth.

    Args:
        true_cbf: Levels of CBF, ml/100g/min, all different.
        estimated_cbf: Mean estimate of each.

    Returns:
        `slope` of the estimate on the truth, and `max_deviation` of their ratio from 1.

    Raises:
        ValueError: If there are not two levels or more, each with one estimate.
    """
    if true_cbf.shape != estimated_cbf.shape or true_cbf.ndim != 1 or len(true_cbf) < 2:
        shapes = f"{true_cbf.shape} and {estimated_cbf.shape}"
        msg = f"linearity must have two levels or more with one estimate each, got {shapes}; add levels."
        raise ValueError(msg)
    slope = np.polyfit(true_cbf, estimated_cbf, 1)[0]
    return {"slope": float(slope), "max_deviation": float(np.abs(estimated_cbf / true_cbf - 1).max())}


def in_vivo_agreement(first: Map, second: Map, mask: Map) -> dict[str, float]:
    """How two methods agree where nobody knows the truth (Bland and Altman 1986; McGraw and Wong 1996).

    Args:
        first: Map of one method.
        second: Map of the other, same shape and units.
        mask: Voxels to compare.

    Returns:
        `mean_difference` (first - second), `limits_low` and `limits_high` (95 % limits of agreement),
        `pearson` and `icc` (ICC(A,1): absolute agreement of single values).

    Raises:
        ValueError: If shapes differ, fewer than 3 voxels are compared or a value is not finite.
    """
    if not first.shape == second.shape == mask.shape:
        shapes = f"{first.shape}, {second.shape} and {mask.shape}"
        msg = f"maps and mask must have one shape, got {shapes}; resample one map onto the other."
        raise ValueError(msg)
    pair = np.stack([first[mask], second[mask]]).astype(np.float64)
    if pair.shape[1] < 3 or not np.isfinite(pair).all():
        msg = f"the mask must hold 3 finite voxels or more, got {pair.shape[1]}; correct the mask."
        raise ValueError(msg)
    difference = pair[0] - pair[1]
    spread = 1.96 * difference.std(ddof=1)
    return {
        "mean_difference": float(difference.mean()),
        "limits_low": float(difference.mean() - spread),
        "limits_high": float(difference.mean() + spread),
        "pearson": float(pearsonr(*pair).statistic),
        "icc": _icc(pair),
    }


def _icc(pair: Map) -> float:
    """ICC(A,1) from the mean squares of rows (voxels), columns (methods) and error."""
    (n_methods, n_voxels), grand = pair.shape, pair.mean()
    by_voxel, by_method = np.mean(pair, axis=0), np.mean(pair, axis=1)[:, None]
    rows = n_methods * ((by_voxel - grand) ** 2).sum() / (n_voxels - 1)
    columns = n_voxels * ((by_method - grand) ** 2).sum() / (n_methods - 1)
    residual = pair - by_voxel - by_method + grand
    error = (residual**2).sum() / ((n_voxels - 1) * (n_methods - 1))
    return float((rows - error) / (rows + (n_methods - 1) * error + n_methods * (columns - error) / n_voxels))


def reduced_chi_square(
    dm: Map, maps: tuple[Map, Map], sigma: Any, protocol: AslProtocol, physics: AslPhysics | None = None
) -> Map:
    """How badly maps explain the data: 1 on average if the model, the constants and sigma are right.

    Args:
        dm: `(..., channel)` difference signal in units of M0; three channels or more.
        maps: CBF (ml/100g/min) and ATT (ms), `(...)`.
        sigma: Standard deviation of the noise of `dm`, broadcast with it.
        protocol: Delays of the channels.
        physics: Constants; the standard ones if not given.

    Returns:
        `(...)`.

    Raises:
        ValueError: If there are fewer than three channels.
    """
    if protocol.n_channels < 3:
        msg = f"chi square must have 3 channels or more, got {protocol.n_channels}; two are always explained."
        raise ValueError(msg)
    residual = (dm - signal(maps[0], maps[1], protocol, physics)) / sigma
    return (residual**2).sum(-1) / (protocol.n_channels - 2)


def auroc(scores: Map, unusual: Map) -> float:
    """Probability that an unusual case scores above a usual one (area under the ROC curve; ties 0.5).

    Args:
        scores: One per case.
        unusual: Whether the case is unusual, same shape.

    Returns:
        0.5 if the score tells nothing, 1 if it separates perfectly.

    Raises:
        ValueError: If shapes differ, or one of the kinds is absent.
    """
    cases, n_unusual = np.ravel(unusual).astype(bool), int(np.sum(unusual))
    if scores.shape != unusual.shape or n_unusual in {0, cases.size}:
        kinds = f"{n_unusual} unusual of {cases.size}"
        msg = f"cases must have a score each and be of both kinds, got {kinds}; add cases."
        raise ValueError(msg)
    ranks = rankdata(np.ravel(scores))[cases]
    return float((ranks.sum() - n_unusual * (n_unusual + 1) / 2) / (n_unusual * (cases.size - n_unusual)))
