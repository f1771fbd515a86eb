r"""Tile stacking: one convex weight per expert and tile of the head, fitted by least squares on training.

Heads differ in place and size, so tiles divide the box around the foreground, in anatomical directions.
Weights are interpolated between the tiles' centres. The same sums, added over the tiles, give the global
weights (`revoxel.sagnef.simplex`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from nibabel.orientations import io_orientation
from scipy import ndimage

from revoxel.sagnef.simplex import StackingStatistics, fit_simplex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.sagnef.baselines import Name

#: Tiles from left to right, from back to front and from bottom to top.
N_TILES = (6, 8, 6)
# Every tile sees this many voxels of the whole head too, so that a nearly empty one gets the global weights.
_PRIOR_VOXELS = 2000.0


@dataclass(frozen=True, eq=False)
class TileStatistics:
    """What least squares needs to know about every tile; statistics of two volumes add up.

    Attributes:
        moments: `(tile, expert + 1, expert + 1)`, sums over voxels of products; the truth comes last.
        n_voxels: `(tile,)`, voxels seen.
    """

    moments: NDArray[np.float64]
    n_voxels: NDArray[np.float64]

    @classmethod
    def of_volume(
        cls,
        experts: Sequence[NDArray[np.float32]],
        truth: NDArray[np.float32],
        mask: NDArray[np.bool_],
        affine: NDArray[np.float64],
    ) -> TileStatistics:
        """Statistics of one volume.

        Args:
            experts: Volumes `(i, j, k)`.
            truth: `(i, j, k)`, same units.
            mask: `(i, j, k)`, the foreground; only its voxels count.
            affine: Voxel to world (RAS).
        """
        n_tiles = int(np.prod(N_TILES))
        tile = _tile_of_voxels(mask, affine)[mask]
        rows = [np.asarray(volume[mask], dtype=np.float64) for volume in (*experts, truth)]
        moments = np.zeros((n_tiles, len(rows), len(rows)))
        for first, second in combinations_with_replacement(range(len(rows)), 2):
            sums = np.bincount(tile, weights=rows[first] * rows[second], minlength=n_tiles)
            moments[:, first, second] = moments[:, second, first] = sums
        return cls(moments, np.bincount(tile, minlength=n_tiles).astype(np.float64))

    def __add__(self, other: TileStatistics) -> TileStatistics:
        return TileStatistics(self.moments + other.moments, self.n_voxels + other.n_voxels)

    def pooled(self) -> StackingStatistics:
        """The whole head's statistics."""
        return _stacking(self.moments.sum(0), float(self.n_voxels.sum()))


def fit_tiles(statistics: TileStatistics) -> NDArray[np.float64]:
    """Convex weights of every tile.

    Args:
        statistics: Sums over the training volumes.

    Returns:
        `(6, 8, 6, expert)`, summing to 1 over the experts.

    Raises:
        ValueError: If no voxel was seen.
    """
    n_seen = max(float(statistics.n_voxels.sum()), 1.0)
    prior = statistics.moments.sum(0) * (_PRIOR_VOXELS / n_seen)
    tiles = [
        fit_simplex(_stacking(moments + prior, n_voxels + _PRIOR_VOXELS))
        for moments, n_voxels in zip(statistics.moments, statistics.n_voxels, strict=True)
    ]
    return np.stack(tiles).reshape(*N_TILES, -1)


def mix_tiles(
    experts: Mapping[Name, NDArray[np.float32]],
    weights: NDArray[np.float64],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Blend with the weights of the tiles, interpolated linearly between their centres.

    Args:
        experts: Volumes `(i, j, k)`, in the order of the weights.
        weights: `(6, 8, 6, expert)`.
        mask: `(i, j, k)`, the foreground: its box is what the tiles divide.
        affine: Voxel to world (RAS).

    Returns:
        `(i, j, k)` in the units of the experts.
    """
    places = _tile_places(mask, affine)
    matrices = [_interpolation(place, N_TILES[world]) for world, place in places]
    blend = np.zeros(mask.shape, dtype=np.float32)
    for volume, tiles in zip(experts.values(), np.moveaxis(weights, -1, 0), strict=True):
        turned = tiles.transpose([world for world, _ in places]).astype(np.float32)
        blend += volume * np.einsum("ia,jb,kc,abc->ijk", *matrices, turned, optimize=True)
    return blend


def _stacking(moments: NDArray[np.float64], n_voxels: float) -> StackingStatistics:
    return StackingStatistics(moments[:-1, :-1], moments[:-1, -1], float(moments[-1, -1]), round(n_voxels))


def _tile_places(
    mask: NDArray[np.bool_], affine: NDArray[np.float64]
) -> list[tuple[int, NDArray[np.float64]]]:
    """Per array axis its anatomical direction, and where each of its voxels lies in units of tiles."""
    orientation = io_orientation(affine)
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    places = []
    for axis, part in enumerate(box):
        world = int(orientation[axis, 0])
        share = (np.arange(mask.shape[axis]) + 0.5 - part.start) / (part.stop - part.start)
        share = 1 - share if orientation[axis, 1] < 0 else share
        places.append((world, share * N_TILES[world]))
    return places


def _tile_of_voxels(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.int64]:
    strides = (N_TILES[1] * N_TILES[2], N_TILES[2], 1)
    index = np.zeros(mask.shape, dtype=np.int64)
    for axis, (world, place) in enumerate(_tile_places(mask, affine)):
        tile = np.clip(place.astype(np.int64), 0, N_TILES[world] - 1) * strides[world]
        index += tile.reshape([-1 if other == axis else 1 for other in range(3)])
    return index


def _interpolation(place: NDArray[np.float64], n_tiles: int) -> NDArray[np.float32]:
    """`(voxel, tile)`: linear weights between tile centres, constant beyond the outermost."""
    distance = np.abs(np.clip(place - 0.5, 0, n_tiles - 1)[:, None] - np.arange(n_tiles))
    return np.clip(1 - distance, 0, None).astype(np.float32)
