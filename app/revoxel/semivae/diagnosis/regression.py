"""How well features are predicted, each by itself, where they are known; intervals by patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Known = NDArray[np.bool_]

_FEWEST = 3
_N_DRAWS = 1000
_INTERVAL_PERCENT = (2.5, 97.5)


def r2_masked(truth: Numbers, predicted: Numbers, known: Known) -> Numbers:
    """Share of the variance of each feature that is predicted, 1 - SSE/SST, over its known values alone.

    Args:
        truth: `(scan, feature)`; what stands where it is not known does not matter, NaN included.
        predicted: `(scan, feature)`.
        known: `(scan, feature)`.

    Returns:
        `(feature,)`, at most 1; NaN of features that are constant or known in fewer than 3 scans.

    Raises:
        ValueError: If the shapes differ.
    """
    return feature_scores(truth, predicted, known)["r2"]


def feature_scores(truth: Numbers, predicted: Numbers, known: Known) -> dict[str, Numbers]:
    """R2, mean squared error, its root and Pearson's correlation of each feature.

    Args:
        truth: `(scan, feature)`.
        predicted: `(scan, feature)`.
        known: `(scan, feature)`.

    Returns:
        `r2`, `mse`, `rmse` and `pearson`, each `(feature,)`; NaN where `r2_masked` says so.

    Raises:
        ValueError: If the shapes differ.
    """
    if not truth.shape == predicted.shape == known.shape:
        shapes = (truth.shape, predicted.shape, known.shape)
        msg = (
            f"truth, predicted and known must have one shape, got {shapes}; take the same scans and features."
        )
        raise ValueError(msg)
    y, guess = (np.where(known, values, np.nan).astype(np.float64) for values in (truth, predicted))
    count = known.sum(axis=0)
    enough = count >= _FEWEST
    total = _sum_square(_centred(y, count))
    error = _sum_square(y - guess)
    with np.errstate(divide="ignore", invalid="ignore"):
        mse = np.where(enough, error / count, np.nan)
        r2 = np.where(enough & (total > 0), 1 - error / total, np.nan)
        both = np.nansum(_centred(y, count) * _centred(guess, count), axis=0)
        pearson = both / np.sqrt(total * _sum_square(_centred(guess, count)))
    return {"r2": r2, "mse": mse, "rmse": np.sqrt(mse), "pearson": np.where(enough, pearson, np.nan)}


def mean_known(values: Numbers) -> float:
    """Mean of the features that could be scored.

    Args:
        values: `(feature,)`, NaN where not.

    Returns:
        The mean; NaN if there is none.
    """
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], Any],
    patients: Sequence[str],
    *,
    n_draws: int = _N_DRAWS,
    seed: int = 0,
) -> tuple[Numbers, Numbers]:
    """95 % interval of a statistic when patients are drawn again with replacement; visits stay together.

    Args:
        statistic: Value, or array of values, of these rows; a row may come several times.
        patients: Of each row.
        n_draws: How often patients are drawn.
        seed: Of the draws.

    Returns:
        Lower and upper end, each of the statistic's shape.

    Raises:
        ValueError: If there are fewer than 2 patients.
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(names) < 2:
        msg = f"an interval needs at least 2 patients, got {len(names)}; evaluate more patients."
        raise ValueError(msg)
    rows = [np.flatnonzero(owner == index) for index in range(len(names))]
    generator = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([rows[index] for index in generator.integers(len(rows), size=len(rows))]))
        for _ in range(n_draws)
    ]
    values = np.asarray(drawn, dtype=np.float64)
    # A draw may leave a rare feature without variance; its NaN says nothing about the others.
    unknown = np.isnan(values).all(axis=0)
    low, high = np.nanpercentile(np.where(unknown, 0.0, values), _INTERVAL_PERCENT, axis=0)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def _centred(values: Numbers, count: NDArray[np.int64]) -> Numbers:
    return values - np.nansum(values, axis=0) / np.maximum(count, 1)


def _sum_square(values: Numbers) -> Numbers:
    return np.nansum(np.square(values), axis=0)
