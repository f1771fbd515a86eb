"""Grids of a CT on its way: straight axes, one spacing, and the coarse grid that shares its outer edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from monai.data.utils import compute_shape_offset

from revoxel.core.geometry import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACTORS = (2, 4)
_MOST_SHEAR = 1e-3


def check_factor(factor: int) -> None:
    """Refuse ratios of spacings that no network here is built for.

    Args:
        factor: Coarse spacing over fine spacing.

    Raises:
        ValueError: If it is neither 2 nor 4.
    """
    if factor not in FACTORS:
        msg = f"factor must be one of {FACTORS}, got {factor}; choose 4, or 2 for half the way."
        raise ValueError(msg)


def check_straight(grid: Grid, name: str) -> None:
    """Refuse a grid whose axes are not perpendicular, as those of a tilted gantry.

    Args:
        grid: Grid of a CT; turned is fine, sheared is not.
        name: What a reader knows it by.

    Raises:
        ValueError: If the axes are sheared.
    """
    directions = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    shear = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if shear > _MOST_SHEAR:
        msg = (
            f"{name} must have perpendicular axes, got a shear of {shear:.3g} (a tilted gantry or a wrong "
            "header); correct the tilt with dcm2niix or resample it first."
        )
        raise ValueError(msg)


def check_divisible(shape: tuple[int, ...], factor: int, name: str) -> None:
    """Refuse a volume that does not divide into blocks.

    Args:
        shape: Voxels along each axis.
        factor: Side of a block.
        name: What a reader knows it by.

    Raises:
        ValueError: If a side is no multiple of `factor`.
    """
    if any(side % factor for side in shape):
        msg = f"{name} must have sides divisible by {factor}, got {shape}; bring it on a grid with ToGridd."
        raise ValueError(msg)


def isotropic_target(grid: Grid, spacing_mm: float, size: int | None, factor: int) -> Grid:
    """Grid of one spacing around a volume, its axes kept.

    Args:
        grid: Where the volume lies.
        spacing_mm: Voxel size of the result.
        size: Voxels along every axis, around the middle; `None` for all of the volume.
        factor: Without `size`, sides are rounded up to a multiple of it.

    Returns:
        The grid; at unchanged spacing its voxels are those of `grid`.
    """
    affine = grid.affine.copy()
    affine[:3, :3] *= spacing_mm / np.array(grid.spacing_mm)
    whole, affine[:3, 3] = compute_shape_offset(grid.shape, grid.affine, affine, scale_extent=True)
    wanted = [size] * 3 if size else [-(-int(side) // factor) * factor for side in whole]
    # Whole voxels only: half of one would blur a volume that needs no interpolation.
    start = [(int(side) - goal) // 2 for side, goal in zip(whole, wanted, strict=True)]
    affine[:3, 3] = affine[:3, :3] @ np.array(start) + affine[:3, 3]
    x, y, z = wanted
    return Grid((x, y, z), affine)


def coarsened(grid: Grid, factor: int) -> Grid:
    """Grid of the blocks of a fine grid.

    Args:
        grid: Fine grid with sides divisible by `factor`.
        factor: Side of a block.

    Returns:
        Grid with the same outer edges: its first centre is that of the first block.

    Raises:
        ValueError: If a side is no multiple of `factor`.
    """
    check_divisible(grid.shape, factor, "a fine grid")
    x, y, z = (side // factor for side in grid.shape)
    return Grid((x, y, z), _scaled(grid.affine, factor))


def upscaled(grid: Grid, factor: int) -> Grid:
    """Grid of the voxels that the blocks of a coarse grid are made of.

    Args:
        grid: Coarse grid.
        factor: Voxels per block along each axis.

    Returns:
        Grid with the same outer edges; at factor 4 its origin lies 3/8 of a coarse voxel before `grid`'s.
    """
    x, y, z = (side * factor for side in grid.shape)
    return Grid((x, y, z), _scaled(grid.affine, 1 / factor))


def _scaled(affine: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    scaled = affine.copy()
    scaled[:3, :3] *= ratio
    scaled[:3, 3] += affine[:3, :3].sum(axis=1) * (ratio - 1) / 2
    return scaled
