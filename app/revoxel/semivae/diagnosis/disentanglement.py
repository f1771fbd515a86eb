"""MIG, SAP and DCI: does each factor stand in few latents, and each latent for few factors?

Sources: MIG, Chen 2018 (arXiv:1802.04942); SAP, Kumar 2018 (arXiv:1711.00848); DCI, Eastwood and Williams
2018. Each takes latents, factors and which factors are known, all with one row per scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from revoxel.semivae.diagnosis.regression import mean_known, r2_masked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Known = NDArray[np.bool_]

_FEWEST = 8
_SCANS_PER_CELL = 5
_MOST_BINS = 20
_N_TREES = 30
_FEWEST_PER_LEAF = 3


@dataclass(frozen=True)
class Dci:
    """Disentanglement, completeness and informativeness.

    Attributes:
        disentanglement: 1 when each latent serves one factor.
        completeness: 1 when each factor stands in one latent.
        informativeness: Mean R2 of the factors from all latents, on held-out scans.
    """

    disentanglement: float
    completeness: float
    informativeness: float


def mig(latents: Numbers, factors: Numbers, known: Known) -> float:
    """Mutual information gap: what the best latent tells about a factor beyond the second, over its entropy.

    Values are replaced by bins of equal counts, so few that a cell of the joint histogram expects 5 scans.

    Args:
        latents: `(scan, latent)`.
        factors: `(scan, factor)`.
        known: `(scan, factor)`.

    Returns:
        Mean over the factors known in 8 scans or more, in [0, 1]; NaN if there is none.
    """
    gaps = [_information_gap(latents[rows], factor[rows]) for factor, rows in _each(factors, known)]
    return mean_known(np.array(gaps))


def sap(latents: Numbers, factors: Numbers, known: Known) -> float:
    """Separated attribute predictability: squared correlation of the best latent less that of the second.

    Args:
        latents: `(scan, latent)`.
        factors: `(scan, factor)`.
        known: `(scan, factor)`.

    Returns:
        Mean over the factors known in 8 scans or more, in [0, 1]; NaN if there is none.
    """
    gaps = [_gap(_squared_correlation(latents[rows], factor[rows])) for factor, rows in _each(factors, known)]
    return mean_known(np.array(gaps))


def dci(
    train: tuple[Numbers, Numbers, Known],
    held_out: tuple[Numbers, Numbers, Known],
    groups: Mapping[str, slice] | None = None,
    *,
    seed: int = 0,
) -> Dci:
    """Importance of every latent for every factor by a forest, and what the forest predicts of other scans.

    Args:
        train: Latents, factors and which are known, to fit on.
        held_out: The same of other patients, to score.
        groups: Count each of these blocks of latents as one, such as the parts of a partition.
        seed: Of the forest.

    Returns:
        The three numbers; NaN if no factor is known in 8 scans.
    """
    latents, factors, known = train
    importance, predicted = [], np.full(held_out[1].shape, np.nan)
    for index in range(factors.shape[1]):
        rows = known[:, index]
        if rows.sum() < _FEWEST:
            continue
        forest = ExtraTreesRegressor(_N_TREES, min_samples_leaf=_FEWEST_PER_LEAF, random_state=seed)
        forest.fit(latents[rows], factors[rows, index])
        importance.append(forest.feature_importances_)
        predicted[:, index] = forest.predict(held_out[0])
    if not importance:
        return Dci(float("nan"), float("nan"), float("nan"))
    shares = np.array(importance).T
    if groups is not None:
        shares = np.array([shares[part].sum(axis=0) for part in groups.values()])
    known_there = held_out[2] & np.isfinite(predicted)
    informativeness = mean_known(r2_masked(held_out[1], predicted, known_there))
    return Dci(_one_sided(shares), _one_sided(shares.T), informativeness)


def _each(factors: Numbers, known: Known) -> list[tuple[Numbers, Known]]:
    pairs = [(factors[:, index], known[:, index]) for index in range(factors.shape[1])]
    return [(factor, rows) for factor, rows in pairs if rows.sum() >= _FEWEST and np.ptp(factor[rows]) > 0]


def _information_gap(latents: Numbers, factor: Numbers) -> float:
    n_scans = len(factor)
    n_bins = int(np.clip(np.sqrt(n_scans / _SCANS_PER_CELL), 2, _MOST_BINS))
    cells = np.eye(n_bins)
    share = cells[_ranks(factor[:, None], n_bins)[:, 0]]
    joint = np.einsum("nlb,nf->lbf", cells[_ranks(latents, n_bins)], share) / n_scans
    entropy = _entropy(share.mean(axis=0))
    information = entropy + _entropy(joint.sum(axis=2)) - _entropy(joint.reshape(len(joint), -1))
    return _gap(information) / float(entropy)


def _ranks(values: Numbers, n_bins: int) -> NDArray[np.int64]:
    """Bin of equal counts of each value, per column; equal values fall into one bin."""
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1], axis=0)
    return (values[None] > edges[:, None]).sum(axis=0)


def _entropy(shares: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(shares > 0, shares * np.log(shares), 0.0).sum(axis=-1)


def _squared_correlation(latents: Numbers, factor: Numbers) -> Numbers:
    centred, y = latents - latents.mean(axis=0), factor - factor.mean()
    scale = np.sqrt(np.square(centred).sum(axis=0) * np.square(y).sum())
    return np.square(np.divide(y @ centred, scale, out=np.zeros_like(scale), where=scale > 0))


def _gap(values: Numbers) -> float:
    ordered = np.sort(values)
    return float(ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0.0))


def _one_sided(shares: Numbers) -> float:
    """How concentrated rows are on columns: 1 less the entropy, weighted by what a row matters."""
    weight = shares.sum(axis=1)
    used = weight > 0
    if shares.shape[1] < 2 or not used.any():
        return 1.0
    spread = _entropy(shares[used] / weight[used, None]) / np.log(shares.shape[1])
    return float(((1 - spread) * weight[used]).sum() / weight[used].sum())
