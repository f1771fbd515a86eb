"""Where the windows of sliding-window inference lie: around what is active, with little computed twice."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Box = tuple[slice, ...]

# Networks halve the sides, and vector units like them even.
_SIDE_STEP = 8
_GROWTHS = (1.0, 1.25, 1.5, 1.75, 2.0)


@dataclass(frozen=True)
class Sides:
    """How long the sides of a window may be, one number per axis.

    Args:
        least: Sides of the training patch, in voxels.
        most: Longest sides, in voxels, at least `least`.
        overlap: Voxels that neighbours share at least, below `least`.
    """

    least: tuple[int, ...]
    most: tuple[int, ...]
    overlap: tuple[int, ...]

    def along(self, extent: int, axis: int) -> tuple[int, int]:
        """Number and length of the windows that cover so many voxels along one axis."""
        least, most, overlap = self.least[axis], self.most[axis], self.overlap[axis]
        count = max(1, math.ceil((extent - overlap) / (most - overlap)))
        length = math.ceil((extent + (count - 1) * overlap) / count / _SIDE_STEP) * _SIDE_STEP
        return count, min(max(least, length), most)


def choose_windows(
    active: NDArray[np.bool_], window: Sequence[int], overlap: float, most_voxels: float
) -> list[Box]:
    """Choose windows, at least as large as the training patch, that cover what is active.

    Larger windows share less with their neighbours; how much larger along each axis is chosen by counting
    voxels.

    Args:
        active: `(z, y, x)`, no side shorter than `window`.
        window: Sides of the training patch in voxels.
        overlap: Share of the training patch that neighbours have in common, from 0 to below 1.
        most_voxels: Largest window; the training patch is allowed in any case.

    Returns:
        Boxes inside the volume; none where nothing is active.
    """
    least = tuple(window)
    shared = tuple(min(int(side * overlap), side - 1) for side in least)
    fewest = list(cover(active, Sides(least, least, shared)))
    if most_voxels <= math.prod(least):
        return fewest
    for growths in itertools.product(_GROWTHS, repeat=len(least)):
        grown = [
            int(side * growth) // _SIDE_STEP * _SIDE_STEP for side, growth in zip(least, growths, strict=True)
        ]
        most = tuple(map(max, least, map(min, grown, active.shape)))
        boxes = list(cover(active, Sides(least, most, shared)))
        if max(map(voxels_of, boxes), default=0) <= most_voxels:
            fewest = min(fewest, boxes, key=_total)
    return fewest


def cover(active: NDArray[np.bool_], sides: Sides) -> Iterator[Box]:
    """Cover what is active: slabs along one axis, each tightened along the next.

    Args:
        active: `(z, y, x)`, no side shorter than the windows.
        sides: How long the windows may be.

    Yields:
        Boxes inside the volume that together hold every active voxel.
    """
    axis = len(sides.least) - active.ndim
    places = np.flatnonzero(active.any(axis=tuple(range(1, active.ndim))))
    if places.size == 0:
        return
    for slab in _slabs((int(places[0]), int(places[-1]) + 1), active.shape[0], sides, axis):
        if active.ndim == 1:
            yield (slab,)
        else:
            yield from ((slab, *rest) for rest in cover(np.any(active[slab], axis=0), sides))


def _slabs(extent: tuple[int, int], whole: int, sides: Sides, axis: int) -> list[slice]:
    """Evenly spread parts of one axis that cover an extent and stay within the whole."""
    first, stop = extent
    count, length = sides.along(stop - first, axis)
    spare = stop - first - length
    if spare <= 0:
        return [_part(min(max(first + spare // 2, 0), whole - length), length)]
    return [_part(first + round(step * spare / (count - 1)), length) for step in range(count)]


def _part(start: int, length: int) -> slice:
    return slice(start, start + length)


def voxels_of(box: Box) -> int:
    """Voxels of a box."""
    return math.prod(part.stop - part.start for part in box)


def _total(boxes: Sequence[Box]) -> int:
    return sum(map(voxels_of, boxes))


def hull(boxes: Sequence[Box]) -> Box:
    """Smallest box that holds all boxes."""
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*boxes, strict=True)
    )


def same_sized(boxes: Sequence[Box], most_voxels: float) -> Iterator[list[Box]]:
    """Runs of boxes of equal sides, in their order: as many as have so many voxels together, at least one."""
    for _, run in itertools.groupby(boxes, key=lambda box: [part.stop - part.start for part in box]):
        equal = list(run)
        most = max(1, int(most_voxels / voxels_of(equal[0])))
        yield from (equal[start : start + most] for start in range(0, len(equal), most))
