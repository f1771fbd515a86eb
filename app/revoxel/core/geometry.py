"""Voxel grids in world coordinates: comparison, construction, and resampling by affine, never by shape.

A grid is an array shape with a 4 x 4 voxel-centre affine to RAS millimetres, in any orientation, oblique and
slightly sheared included. Voxel `k` covers `[k - 1/2, k + 1/2]`, so grids that cover the same field of view
share their outer edges, not their first voxel centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil, inf, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

SAME_GRID_TOLERANCE_VOXELS = 0.05
MIN_ANISOTROPY = 1.2
KEPT_SPACING_TOLERANCE = 0.05
FWHM_PER_STD = 2.0 * sqrt(2.0 * log(2.0))
_MIN_RELATIVE_VOLUME = 1e-3
_PARALLEL_TOLERANCE_VOXELS = 0.01
_PARTIAL_VOXEL = 1e-3


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and position of a 3D volume.

    Attributes:
        shape: Voxels along `(i, j, k)`.
        affine: `(4, 4)` float64, voxel index to RAS millimetres, pointing at voxel centres; read-only.

    Raises:
        ValueError: If a side is not positive, or the affine is not finite, not affine, or singular.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Validate both fields and freeze a float64 copy of the affine."""
        shape = tuple(int(size) for size in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            msg = f"grid shape must be three positive sizes, got {shape}; give one 3D volume."
            raise ValueError(msg)
        affine = np.array(self.affine, dtype=np.float64)
        _check_affine(affine)
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along `(i, j, k)`, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def world(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map voxel indices to millimetres.

        Args:
            points: `(..., 3)` voxel indices, fractions allowed.

        Returns:
            `(..., 3)` RAS coordinates in mm.
        """
        return np.asarray(points, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def corners(self) -> NDArray[np.float64]:
        """Indices of the eight corner voxels, `(8, 3)`."""
        return np.array(list(product(*((0, size - 1) for size in self.shape))), dtype=np.float64)


def offset_voxels(a: Grid, b: Grid) -> float:
    """Measure how far one grid lies from another.

    Args:
        a: Grid whose voxels are the unit.
        b: Grid to compare.

    Returns:
        Largest displacement of a corner voxel, in voxels of `a`; infinite if the shapes differ.
    """
    return displacement_voxels(a, b) if a.shape == b.shape else inf


def displacement_voxels(grid: Grid, other: Grid) -> float:
    """Largest distance between corresponding corner voxels, in voxels of `grid`; the shapes may differ.

    Args:
        grid: Grid whose voxels are the unit.
        other: Grid to compare.
    """
    away_mm = other.world(other.corners()) - grid.affine[:3, 3]
    moved = np.linalg.solve(grid.affine[:3, :3], away_mm.T).T
    return float(np.linalg.norm(moved - grid.corners(), axis=1).max())


def check_same_grid(grids: Mapping[str, Grid], tolerance_voxels: float = SAME_GRID_TOLERANCE_VOXELS) -> None:
    """Refuse volumes that do not lie on one grid.

    Args:
        grids: Grids by a name that a reader knows, such as a file name.
        tolerance_voxels: Largest offset from the first grid that still counts as the same, in voxels.

    Raises:
        ValueError: If two grids differ; the message names both and how they differ.
    """
    items = list(grids.items())
    for (name, grid), (other_name, other) in ((items[0], item) for item in items[1:]):
        offset = offset_voxels(grid, other)
        if offset > tolerance_voxels:
            shapes = f"shapes {grid.shape} and {other.shape}"
            difference = shapes if offset == inf else f"{offset:.3g} voxels of offset"
            msg = (
                f"{name} and {other_name} must lie on one grid (within {tolerance_voxels:g} voxels), "
                f"got {difference}; resample one onto the other first."
            )
            raise ValueError(msg)


def whole_voxel_shift(grid: Grid, goal: Grid) -> tuple[tuple[int, int, int], float]:
    """Find the voxel of one grid at which another begins, if their voxels coincide.

    Args:
        grid: Grid whose voxels are counted.
        goal: Grid of any shape.

    Returns:
        Index in `grid` (it may lie outside) nearest to the first voxel of `goal`, and the largest
        displacement that then remains over `goal`, in voxels: 0 where the voxels of both coincide.
    """
    start = np.linalg.solve(grid.affine, goal.affine[:, 3])[:3]
    shift = np.rint(start)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.world(shift)
    x, y, z = (int(step) for step in shift)
    return (x, y, z), offset_voxels(Grid(goal.shape, affine), goal)


def slice_axis(grid: Grid) -> int:
    """Find the axis along which slices are thick.

    Args:
        grid: Grid of the low-resolution volume.

    Returns:
        Array axis with the largest spacing.

    Raises:
        ValueError: If the voxels are nearly isotropic, or two axes are equally coarse.
    """
    shown = " x ".join(f"{spacing:.3g}" for spacing in grid.spacing_mm)
    finest, middle, coarsest = sorted(grid.spacing_mm)
    if coarsest < MIN_ANISOTROPY * finest:
        msg = (
            f"slice spacing must be at least {MIN_ANISOTROPY:g} times the in-plane spacing, got {shown} mm; "
            "nothing to do for an isotropic volume."
        )
        raise ValueError(msg)
    if middle > 0.99 * coarsest:
        msg = f"one axis must be coarser than the others, got {shown} mm; give a volume with one slice axis."
        raise ValueError(msg)
    return int(np.argmax(grid.spacing_mm))


def isotropic_grid(low: Grid, axis: int, voxel_mm: float | None = 1.0) -> Grid:
    """Build the fine grid that covers the field of view of a thick-slice volume.

    Args:
        low: Grid of the thick-slice volume.
        axis: Its slice axis.
        voxel_mm: Wanted voxel size; `None` keeps the in-plane voxels and gives the slice axis
            the finer of their sizes.

    Returns:
        Grid parallel to `low` with the same first edges; a partial last voxel is added, never cut. In-plane
        axes within 5 % of `voxel_mm` stay as they are.

    Raises:
        ValueError: If `axis` or `voxel_mm` makes no sense.
    """
    _check_axis(axis)
    if voxel_mm is not None and not 0 < voxel_mm < inf:
        msg = f"voxel_mm must be a positive size in mm, got {voxel_mm}; use 1.0, or None for native."
        raise ValueError(msg)
    spacing_mm = list(low.spacing_mm)
    in_plane = [other for other in range(3) if other != axis]
    spacing_mm[axis] = voxel_mm or min(spacing_mm[other] for other in in_plane)
    for other in in_plane:
        if voxel_mm is not None and abs(spacing_mm[other] / voxel_mm - 1) > KEPT_SPACING_TOLERANCE:
            spacing_mm[other] = voxel_mm
    return _with_spacing(low, spacing_mm)


def thick_grid(high: Grid, axis: int, separation_mm: float) -> Grid:
    """Build the grid of thick slices over a fine volume.

    Args:
        high: Grid of the fine volume.
        axis: Axis along which slices become thick.
        separation_mm: Distance between slice centres.

    Returns:
        Grid with the same first edges; the last slice may reach beyond the volume, nothing is shifted.

    Raises:
        ValueError: If `axis` is not an axis or `separation_mm` is not positive.
    """
    _check_axis(axis)
    if not 0 < separation_mm < inf:
        msg = f"separation_mm must be a positive distance in mm, got {separation_mm}; correct it."
        raise ValueError(msg)
    spacing_mm = list(high.spacing_mm)
    spacing_mm[axis] = separation_mm
    return _with_spacing(high, spacing_mm)


def resample(
    data: NDArray[Any],
    source: Grid,
    target: Grid,
    order: int = 3,
    *,
    fill: float | None = None,
    antialias: bool = True,
) -> NDArray[np.float32]:
    """Resample a volume by its affine with B-splines.

    Args:
        data: `(i, j, k)` on `source`.
        source: Grid of `data`.
        target: Grid of the result.
        order: Spline order, 0 (nearest, for labels) to 5.
        fill: Value outside the source's field of view; `None` repeats the edge.
        antialias: Blur first where the target is coarser, so that Gaussian variances of voxel size add up.

    Returns:
        `(i, j, k)` float32 on `target`.

    Raises:
        ValueError: If `data` does not have the source's shape.
    """
    if data.shape != source.shape:
        msg = f"data must have the shape {source.shape} of its grid, got {data.shape}; pass its own grid."
        raise ValueError(msg)
    matrix = np.asarray(np.linalg.solve(source.affine, target.affine), dtype=np.float64)
    blur_voxels = _blur_voxels(matrix) if antialias and order > 0 else np.zeros(3)
    volume = np.asarray(data, dtype=np.float32)
    if _is_parallel(matrix, target.shape):
        result = _resample_separable(volume, matrix, target.shape, order, blur_voxels)
    else:
        result = _resample_general(volume, matrix, target.shape, order, blur_voxels)
    if fill is not None:
        result = np.where(_inside(matrix, target.shape, source.shape), result, np.float32(fill))
    return result


def interpolation_matrix(
    n_source: int, positions: NDArray[np.float64], order: int = 3, blur_voxels: float = 0.0
) -> NDArray[np.float32]:
    """Write one-dimensional spline interpolation, prefilter and edges included, as a matrix.

    Args:
        n_source: Samples on the line.
        positions: `(n_target,)` in source samples; clamped to the outer edges of the line. Between the last
            centre and its edge the line is mirrored, as ITK does.
        order: Spline order, 0 to 5.
        blur_voxels: Standard deviation of a Gaussian applied first, in source samples.

    Returns:
        `(n_target, n_source)` float32; rows sum to one.
    """
    if n_source == 1:
        return np.ones((len(positions), 1), dtype=np.float32)
    inside = np.clip(positions, -0.5, n_source - 0.5)
    columns = [
        ndimage.map_coordinates(unit, [inside], order=order, mode="mirror") for unit in np.eye(n_source)
    ]
    matrix = np.stack(columns, axis=1)
    if blur_voxels > 0:
        matrix = matrix @ ndimage.gaussian_filter1d(np.eye(n_source), blur_voxels, axis=0, mode="nearest")
    return matrix.astype(np.float32)


def apply_along_axis(
    matrix: NDArray[np.float32], data: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    """Multiply every line of a volume along one axis by a matrix.

    Args:
        matrix: `(n_target, n_source)`.
        data: Volume with `n_source` samples along `axis`.
        axis: Axis to transform.

    Returns:
        Volume with `n_target` samples along `axis`.
    """
    if axis == data.ndim - 1:
        return data @ matrix.T
    return np.ascontiguousarray(np.moveaxis(np.moveaxis(data, axis, -1) @ matrix.T, -1, axis))


def _check_affine(affine: NDArray[np.float64]) -> None:
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
        msg = f"affine must be finite, 4 x 4, ending in 0 0 0 1, got {affine.tolist()}; repair the header."
        raise ValueError(msg)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing_mm.min() <= 0:
        msg = f"voxel spacing must be positive, got {spacing_mm.tolist()} mm; repair the header."
        raise ValueError(msg)
    relative_volume = abs(np.linalg.det(affine[:3, :3] / spacing_mm))
    if relative_volume < _MIN_RELATIVE_VOLUME:
        msg = f"affine must be invertible, got singular {affine[:3, :3].tolist()}; repair the header."
        raise ValueError(msg)


def _check_axis(axis: int) -> None:
    if axis not in (0, 1, 2):
        msg = f"axis must be 0, 1 or 2, got {axis}; count the array axes i, j, k from zero."
        raise ValueError(msg)


def _with_spacing(grid: Grid, spacing_mm: list[float]) -> Grid:
    """Change voxel sizes while the first outer edges stay where they are."""
    ratio = np.array(spacing_mm) / np.array(grid.spacing_mm)
    steps = grid.affine[:3, :3] * ratio
    affine = grid.affine.copy()
    affine[:3, :3] = steps
    affine[:3, 3] += (steps - grid.affine[:3, :3]).sum(axis=1) / 2
    x, y, z = (max(1, ceil(n / r - _PARTIAL_VOXEL)) for n, r in zip(grid.shape, ratio, strict=True))
    return Grid((x, y, z), affine)


def _blur_voxels(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation per source axis that is missing from the target's voxel size, in source voxels."""
    target_variance = (matrix[:3, :3] ** 2).sum(axis=1)
    return np.sqrt(np.clip(target_variance - 1, 0, None)) / FWHM_PER_STD


def _is_parallel(matrix: NDArray[np.float64], shape: tuple[int, int, int]) -> bool:
    off_axis = np.abs(matrix[:3, :3] - np.diag(np.diag(matrix[:3, :3])))
    return bool((off_axis @ (np.array(shape) - 1)).max() < _PARALLEL_TOLERANCE_VOXELS)


def _resample_separable(
    data: NDArray[np.float32],
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
    order: int,
    blur_voxels: NDArray[np.float64],
) -> NDArray[np.float32]:
    # Axes that shrink come first: the later products are then smaller.
    for axis in sorted(range(3), key=lambda axis: shape[axis] / data.shape[axis]):
        positions = matrix[axis, axis] * np.arange(shape[axis]) + matrix[axis, 3]
        if len(positions) == data.shape[axis] and np.allclose(positions, np.arange(shape[axis]), atol=1e-6):
            continue
        weights = interpolation_matrix(data.shape[axis], positions, order, float(blur_voxels[axis]))
        data = apply_along_axis(weights, data, axis)
    return np.array(data)


def _resample_general(
    data: NDArray[np.float32],
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
    order: int,
    blur_voxels: NDArray[np.float64],
) -> NDArray[np.float32]:
    if blur_voxels.any():
        data = ndimage.gaussian_filter(data, tuple(blur_voxels), mode="nearest")
    coefficients = ndimage.spline_filter(data, order, output=np.float32, mode="mirror") if order > 1 else data
    result = np.empty(shape, dtype=np.float32)
    last = np.array(coefficients.shape)[:, None, None] - 1
    plane = np.stack(np.broadcast_arrays(*np.ogrid[: shape[1], : shape[2]])).astype(np.float64)
    in_plane = np.tensordot(matrix[:3, 1:3], plane, axes=1) + matrix[:3, 3, None, None]
    # Clamped positions repeat the edge; "nearest" of affine_transform would repeat spline coefficients.
    for index in range(shape[0]):
        positions = np.clip(in_plane + index * matrix[:3, 0, None, None], 0, last)
        ndimage.map_coordinates(
            coefficients, positions, output=result[index], order=order, mode="mirror", prefilter=False
        )
    return result


def _inside(
    matrix: NDArray[np.float64], shape: tuple[int, int, int], source_shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Mark target voxels whose centre lies in the source's field of view, outer half voxels included."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = np.ones(shape, dtype=bool)
    for row, size in zip(matrix[:3], source_shape, strict=True):
        position = row[0] * i + row[1] * j + row[2] * k + row[3]
        inside &= (position >= -0.5 - _PARTIAL_VOXEL) & (position <= size - 0.5 + _PARTIAL_VOXEL)
    return inside
