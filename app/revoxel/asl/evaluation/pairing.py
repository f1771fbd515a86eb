"""What scores look like when estimates are paired with the wrong voxels, and how that is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Map = NDArray[Any]

_EVERY = 10


def pairing_table(estimate: Map, truth: Map, mask: Map, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Errors of the same estimates under a right and two wrong pairings with the truth.

    Args:
        estimate: One map per phantom, `(phantom, row, column)`.
        truth: Same shape.
        mask: Voxels that count.
        seed: Of the shuffle.

    Returns:
        `mae` and `r2` by pairing: `right`; `shuffled` within each phantom; and `first voxels`, where every
        tenth voxel's estimate is held against the first so many true values, in the order of the voxels.
    """
    rng = np.random.default_rng(seed)
    pairs: dict[str, list[tuple[Map, Map]]] = {"right": [], "shuffled": [], "first voxels": []}
    for estimated, true, inside in zip(estimate, truth, mask, strict=True):
        values, targets = estimated[inside], true[inside]
        pairs["right"].append((values, targets))
        pairs["shuffled"].append((rng.permutation(values), targets))
        tenth = values[::_EVERY]
        pairs["first voxels"].append((tenth, targets[: len(tenth)]))
    return {name: _scores(*map(np.concatenate, zip(*parts, strict=True))) for name, parts in pairs.items()}


def check_pairing(table: dict[str, dict[str, float]], method: str) -> None:
    """Refuse scores that say less about the truth than its mean does: the mark of wrong pairs.

    Args:
        table: From `pairing_table`, of a method that is known to work, such as the fit.
        method: Its name.

    Raises:
        ValueError: If R2 is not above 0; a truth without variation has none and passes.
    """
    explained = table["right"]["r2"]
    if explained <= 0:
        msg = (
            f"{method} must explain the truth (R2 > 0), got R2 {explained:.3g}; its maps may be turned, "
            "mirrored or of other scans, or the constants far from the true ones."
        )
        raise ValueError(msg)


def _scores(values: Map, targets: Map) -> dict[str, float]:
    error = values.astype(np.float64) - targets
    spread = ((targets - targets.mean(dtype=np.float64)) ** 2).sum()
    return {
        "mae": float(np.abs(error).mean()),
        "r2": float(1 - (error**2).sum() / spread) if spread > 0 else float("nan"),
    }
