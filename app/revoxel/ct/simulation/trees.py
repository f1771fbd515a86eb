"""Branching vessels and airways that fill a region: each new end grows from the nearest branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from revoxel.ct.simulation.canvas import Canvas

_STEP_MM = 9.0
_JITTER_MM = 1.6
#: Parent and children by Murray's law, r^k = sum of r_i^k; about 2.7 in lungs.
_EXPONENT = 2.7


class Piece(NamedTuple):
    """A straight piece of a branch; ends in mm."""

    start: NDArray[Any]
    end: NDArray[Any]
    radius_mm: float


def grow_tree(
    root: NDArray[Any], ends: NDArray[Any], leaf_mm: float, rng: np.random.Generator
) -> Iterator[Piece]:
    """Grow a tree from a root to every end.

    Args:
        root: Where it begins, mm.
        ends: `(n, 3)` points to reach, mm.
        leaf_mm: Radius of the last branches.
        rng: Source of randomness.

    Yields:
        Pieces, thick to thin.
    """
    nodes, parents = [root], [0]
    for end in ends[np.argsort(np.linalg.norm(ends - root, axis=1))]:
        nearest = int(np.argmin(np.linalg.norm(np.array(nodes) - end, axis=1)))
        n_steps = max(1, round(float(np.linalg.norm(end - nodes[nearest])) / _STEP_MM))
        path = np.linspace(nodes[nearest], end, n_steps + 1)[1:]
        path[:-1] += rng.normal(scale=_JITTER_MM, size=path[:-1].shape)
        for place, node in enumerate(path):
            parents.append(nearest if place == 0 else len(nodes) - 1)
            nodes.append(node)
    volumes = np.zeros(len(nodes))
    for index in range(len(nodes) - 1, 0, -1):
        volumes[index] = volumes[index] or leaf_mm**_EXPONENT
        volumes[parents[index]] += volumes[index]
    for index in range(1, len(nodes)):
        yield Piece(nodes[parents[index]], nodes[index], float(volumes[index] ** (1 / _EXPONENT)))


def draw_ends(region: NDArray[Any], canvas: Canvas, n_ends: int, rng: np.random.Generator) -> NDArray[Any]:
    """Points spread over a region.

    Args:
        region: Share of each voxel that belongs to it.
        canvas: Where it lies.
        n_ends: How many.
        rng: Source of randomness.

    Returns:
        `(n_ends, 3)`, mm; none if the region is empty.
    """
    candidates = np.argwhere(region > 0.9)
    if not len(candidates):
        return np.zeros((0, 3))
    chosen = candidates[rng.integers(len(candidates), size=n_ends)]
    return np.stack([axis[chosen[:, k]] for k, axis in enumerate(canvas.axes)], axis=1).astype(np.float64)
