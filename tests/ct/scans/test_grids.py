"""Grids change their spacing, never their place."""

import numpy as np
import pytest

from ct_scans import grid_around
from revoxel.core.geometry import Grid, offset_voxels, whole_voxel_shift
from revoxel.ct.scans.grids import check_factor, check_straight, coarsened, isotropic_target, upscaled


def outer_edges(grid):
    return grid.world(np.array([[-0.5, -0.5, -0.5], np.array(grid.shape) - 0.5]))


@pytest.mark.parametrize("factor", [2, 4])
def test_upscaling_undoes_coarsening(factor):
    grid = grid_around((40, 44, 36), turned_deg=7)
    assert offset_voxels(grid, upscaled(coarsened(grid, factor), factor)) < 1e-9


def test_fine_origin_lies_three_eighths_of_a_coarse_voxel_before_the_coarse_one():
    coarse = Grid((8, 8, 8), np.diag([6.0, 6.0, 6.0, 1.0]))
    np.testing.assert_allclose(upscaled(coarse, 4).affine[:3, 3], [-6 * 3 / 8] * 3)


@pytest.mark.parametrize("turned_deg", [0, 11])
def test_coarse_grid_has_the_outer_edges_of_the_fine_one(turned_deg):
    grid = grid_around((40, 44, 36), turned_deg=turned_deg)
    np.testing.assert_allclose(outer_edges(coarsened(grid, 4)), outer_edges(grid), atol=1e-9)


def test_target_grid_covers_the_volume_with_whole_blocks():
    grid = grid_around((37, 41, 15), (0.8, 0.8, 2.5))
    target = isotropic_target(grid, 1.5, None, 4)
    assert all(side % 4 == 0 for side in target.shape)
    assert target.spacing_mm == pytest.approx((1.5, 1.5, 1.5))
    assert all(
        t * 1.5 > n * s - 0.75 for t, n, s in zip(target.shape, grid.shape, grid.spacing_mm, strict=True)
    )


@pytest.mark.parametrize("shape", [(40, 44, 36), (41, 43, 35)])
@pytest.mark.parametrize("size", [None, 24, 64])
def test_unchanged_spacing_keeps_the_voxels_where_they_are(shape, size):
    grid = grid_around(shape, turned_deg=5)
    assert whole_voxel_shift(grid, isotropic_target(grid, 1.5, size, 4))[1] < 1e-6


def test_fixed_size_is_taken_around_the_middle():
    grid = grid_around((40, 44, 36))
    target = isotropic_target(grid, 1.5, 64, 4)
    middle = [g.world((np.array(g.shape) - 1) / 2) for g in (grid, target)]
    np.testing.assert_allclose(*middle, atol=1e-6)


def test_side_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"divisible by 4, got \(40, 44, 35\)"):
        coarsened(grid_around((40, 44, 35)), 4)


def test_other_factor_is_refused():
    with pytest.raises(ValueError, match=r"factor must be one of \(2, 4\), got 3"):
        check_factor(3)


def test_sheared_axes_are_refused_and_turned_ones_are_not():
    grid = grid_around(turned_deg=20)
    check_straight(grid, "turned")
    sheared = grid.affine.copy()
    sheared[:3, 2] += 0.1 * sheared[:3, 1]
    with pytest.raises(ValueError, match="tilted must have perpendicular axes, got a shear of 0"):
        check_straight(Grid(grid.shape, sheared), "tilted")
