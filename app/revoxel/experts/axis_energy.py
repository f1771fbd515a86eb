"""Fine detail along an axis, measured by finite differences.

The filters are local, so neither windows nor the field of view enter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Differences of order 1 to 4.
DIFFERENCES: tuple[tuple[float, ...], ...] = (
    (1.0, -1.0),
    (1.0, -2.0, 1.0),
    (1.0, -3.0, 3.0, -1.0),
    (1.0, -4.0, 6.0, -4.0, 1.0),
)
_TINY = 1e-30


def difference(data: NDArray[np.float32], order: int, axis: int) -> NDArray[np.float32]:
    """Difference of the given order (0 to 4) along an axis, the ends repeated so that no edge is left out."""
    if order == 0:
        return data
    taps = DIFFERENCES[order - 1]
    lines = np.moveaxis(data, axis, 0)
    lines = np.concatenate([np.repeat(lines[:1], order, 0), lines, np.repeat(lines[-1:], order, 0)])
    n_kept = len(lines) - order
    result = sum(np.float32(tap) * lines[start : start + n_kept] for start, tap in enumerate(taps))
    return np.moveaxis(np.asarray(result, dtype=np.float32), 0, axis)


def log_energy(data: NDArray[np.float32]) -> float:
    """Natural logarithm of the sum of squares."""
    flat = data.ravel()
    return float(np.log(np.dot(flat, flat) + _TINY))


def centred(rough: NDArray[np.float32], order: int, axis: int) -> NDArray[np.float32]:
    """The part of `difference` whose windows are centred on voxels (even order): the shape of the data."""
    margin = order // 2
    kept = [slice(None)] * rough.ndim
    kept[axis] = slice(margin, rough.shape[axis] - margin)
    return rough[tuple(kept)]
