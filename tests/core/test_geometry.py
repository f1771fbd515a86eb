"""Grids and resampling: laws in world coordinates for any orientation, with ITK as the oracle."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from laws import centroid_world
from revoxel.core.geometry import (
    Grid,
    check_same_grid,
    isotropic_grid,
    offset_voxels,
    resample,
    slice_axis,
    thick_grid,
)

angles = st.tuples(*[st.floats(-180, 180)] * 3)
origins = st.tuples(*[st.floats(-200, 200)] * 3)
spacings = st.tuples(*[st.floats(0.4, 6.0)] * 3)
shapes = st.tuples(*[st.integers(2, 40)] * 3)


def oblique_affine(angles_deg, spacing_mm, origin_mm=(0, 0, 0), flip=False):
    affine = np.eye(4)
    mirror = np.diag([-1.0 if flip else 1.0, 1.0, 1.0])
    rotation = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    affine[:3, :3] = rotation @ mirror @ np.diag(spacing_mm)
    affine[:3, 3] = origin_mm
    return affine


grids = st.builds(
    lambda shape, angle, spacing, origin, flip: Grid(shape, oblique_affine(angle, spacing, origin, flip)),
    shapes, angles, spacings, origins, st.booleans(),
)  # fmt: skip


def first_edge(grid):
    return grid.world([-0.5, -0.5, -0.5])


def sphere(grid, centre_mm, radius_mm):
    points = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    distance = np.linalg.norm(points - centre_mm, axis=-1)
    return np.clip(radius_mm - distance + 0.5, 0, 1).astype(np.float32)


@given(grids)
def test_spacing_is_measured_along_the_array_axes(grid):
    neighbours = grid.world(np.eye(3)) - grid.world([0, 0, 0])
    np.testing.assert_allclose(grid.spacing_mm, np.linalg.norm(neighbours, axis=1), rtol=1e-6, atol=1e-9)


@given(grids, st.tuples(*[st.floats(-2, 2)] * 3))
def test_offset_of_a_shifted_grid_is_the_shift_in_voxels(grid, shift):
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ shift
    assert offset_voxels(grid, Grid(grid.shape, affine)) == pytest.approx(np.linalg.norm(shift), abs=1e-6)


@given(grids, st.integers(0, 2), st.floats(0.5, 2.0))
def test_isotropic_grid_keeps_first_edges_and_covers_the_field_of_view(low, axis, voxel_mm):
    fine = isotropic_grid(low, axis, voxel_mm)
    np.testing.assert_allclose(first_edge(fine), first_edge(low), atol=1e-6)
    assert fine.spacing_mm[axis] == pytest.approx(voxel_mm)
    extent = np.array(fine.shape) * fine.spacing_mm - np.array(low.shape) * low.spacing_mm
    assert (extent >= -0.01).all()
    assert (extent < np.array(fine.spacing_mm)).all()


@given(grids, st.integers(0, 2), st.integers(2, 7))
def test_thick_then_isotropic_returns_to_the_fine_grid(high, axis, factor):
    spacing = high.spacing_mm[axis]
    low = thick_grid(high, axis, factor * spacing)
    back = isotropic_grid(low, axis, spacing)
    np.testing.assert_allclose(back.affine[:3, axis], high.affine[:3, axis], atol=1e-6)
    assert back.shape[axis] == factor * -(-high.shape[axis] // factor)
    np.testing.assert_allclose(first_edge(back), first_edge(high), atol=1e-6)


def test_thick_slice_centre_lies_between_the_voxels_it_covers():
    high = Grid((8, 8, 15), np.eye(4))
    low = thick_grid(high, 2, 5.0)
    assert low.shape == (8, 8, 3)
    np.testing.assert_allclose(low.world([0, 0, 1]), high.world([0, 0, 7]))


def test_odd_slice_counts_are_padded_never_shifted():
    assert thick_grid(Grid((8, 8, 155), np.eye(4)), 2, 3.0).shape[2] == 52


def test_in_plane_axes_within_five_percent_stay():
    low = Grid((200, 200, 20), np.diag([0.96, 1.2, 5.0, 1.0]))
    fine = isotropic_grid(low, 2, 1.0)
    assert fine.shape == (200, 240, 100)
    np.testing.assert_allclose(fine.spacing_mm, (0.96, 1.0, 1.0))


def test_native_voxels_keep_the_plane():
    low = Grid((200, 180, 20), np.diag([0.6, 0.75, 6.0, 1.0]))
    fine = isotropic_grid(low, 2, None)
    assert fine.shape == (200, 180, 200)
    np.testing.assert_allclose(fine.spacing_mm, (0.6, 0.75, 0.6))


def test_slice_axis_is_the_coarsest():
    assert slice_axis(Grid((9, 9, 9), np.diag([0.9, 5.5, 0.9, 1.0]))) == 1


@pytest.mark.parametrize(
    ("spacing_mm", "said"), [((1, 1, 1.1), "nothing to do"), ((1, 5, 5), "one slice axis")]
)
def test_unclear_slice_axis_is_refused(spacing_mm, said):
    with pytest.raises(ValueError, match=said):
        slice_axis(Grid((9, 9, 9), np.diag([*spacing_mm, 1])))


def test_different_grids_are_named_with_their_offset():
    moved = np.eye(4)
    moved[0, 3] = 0.4
    grids = {"a.nii": Grid((9, 9, 9), np.eye(4)), "b.nii": Grid((9, 9, 9), moved)}
    with pytest.raises(ValueError, match=r"a\.nii and b\.nii .* 0\.4 voxels"):
        check_same_grid(grids)
    check_same_grid(grids, tolerance_voxels=0.5)


def test_different_shapes_are_named():
    grids = {"a": Grid((9, 9, 9), np.eye(4)), "b": Grid((9, 9, 8), np.eye(4))}
    with pytest.raises(ValueError, match=r"\(9, 9, 9\) and \(9, 9, 8\)"):
        check_same_grid(grids, tolerance_voxels=3)


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (np.diag([0, 1, 1, 1]), "spacing must be positive"),
        (np.diag([np.nan, 1, 1, 1]), "finite"),
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "invertible"),
        (np.eye(3), "4 x 4"),
    ],
)
def test_unusable_affine_is_refused(affine, said):
    with pytest.raises(ValueError, match=said):
        Grid((4, 4, 4), np.array(affine, dtype=float))


def test_empty_grid_is_refused():
    with pytest.raises(ValueError, match="three positive sizes"):
        Grid((4, 0, 4), np.eye(4))


def test_slight_shear_is_accepted():
    affine = np.eye(4)
    affine[0, 1] = 1e-4
    assert offset_voxels(Grid((5, 5, 5), np.eye(4)), Grid((5, 5, 5), affine)) < 0.05


@settings(max_examples=25, deadline=None)
@given(grids, grids, st.integers(0, 5))
def test_constant_stays_constant_under_any_resampling(source, target, order):
    result = resample(np.full(source.shape, 3.25, np.float32), source, target, order)
    np.testing.assert_allclose(result, 3.25, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(angles, st.tuples(*[st.floats(-2, 2)] * 3))
def test_sphere_keeps_its_centre_in_world_coordinates(angle, shift):
    source = Grid((41, 41, 12), oblique_affine(angle, (0.9, 0.9, 4.0)))
    centre = source.world([20, 20, 5.5])
    target = isotropic_grid(Grid(source.shape, source.affine), 2, 1.0)
    rotated = Grid((50, 50, 50), oblique_affine((0, 0, 0), (1, 1, 1), centre - 24.5 + np.array(shift)))
    data = sphere(source, centre, 12.0)
    for grid in (target, rotated):
        moved = resample(data, source, grid, fill=0.0)
        assert np.linalg.norm(centroid_world(moved, grid.affine) - centre) < 0.1


def test_parallel_and_general_path_agree(brain):
    source = Grid(brain.shape, oblique_affine((10, 20, 30), (0.9, 0.9, 3.0)))
    target = isotropic_grid(source, 2, 1.0)
    tilted = target.affine.copy()
    tilted[:3, :3] = Rotation.from_euler("z", 0.02, degrees=True).as_matrix() @ tilted[:3, :3]
    fast = resample(brain, source, target)
    general = resample(brain, source, Grid(target.shape, tilted))
    np.testing.assert_allclose(fast, general, atol=0.02 * brain.max())


def test_same_grid_returns_the_data_and_a_copy(brain):
    grid = Grid(brain.shape, oblique_affine((5, 6, 7), (1, 1, 2)))
    result = resample(brain, grid, grid)
    np.testing.assert_array_equal(result, brain)
    assert not np.shares_memory(result, brain)


def test_labels_survive_nearest_resampling():
    labels = np.random.default_rng(0).integers(0, 5, (12, 13, 14))
    source = Grid(labels.shape, np.diag([1, 1, 3.0, 1]))
    assert set(np.unique(resample(labels, source, isotropic_grid(source, 2), order=0))) <= set(range(5))


def test_fill_replaces_only_what_lies_outside():
    source = Grid((8, 8, 8), np.eye(4))
    affine = np.eye(4)
    affine[0, 3] = -2.0
    result = resample(np.ones(source.shape), source, Grid((12, 8, 8), affine), fill=-7.0)
    np.testing.assert_allclose(result[:, 4, 4], [-7, -7, *[1] * 8, -7, -7], atol=1e-6)


def test_coarser_target_is_antialiased():
    source = Grid((64, 8, 8), np.eye(4))
    noise = np.random.default_rng(0).normal(size=source.shape)
    target = Grid((16, 8, 8), np.diag([4.0, 1, 1, 1]))
    assert (
        resample(noise, source, target).std() < 0.6 * resample(noise, source, target, antialias=False).std()
    )


def test_single_slice_is_repeated():
    source = Grid((6, 6, 1), np.diag([1, 1, 5.0, 1]))
    data = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    result = resample(data, source, isotropic_grid(source, 2))
    np.testing.assert_array_equal(result, np.repeat(data, 5, axis=2))


def test_data_must_match_its_grid():
    with pytest.raises(ValueError, match="shape"):
        resample(np.zeros((4, 4, 5)), Grid((4, 4, 4), np.eye(4)), Grid((4, 4, 4), np.eye(4)))


@pytest.mark.parametrize("call", [lambda g: isotropic_grid(g, 3, 1.0), lambda g: thick_grid(g, -1, 2.0)])
def test_impossible_axis_is_refused(call):
    with pytest.raises(ValueError, match="axis must be"):
        call(Grid((4, 4, 4), np.eye(4)))


@pytest.mark.parametrize("call", [lambda g: isotropic_grid(g, 2, 0.0), lambda g: thick_grid(g, 2, np.inf)])
def test_impossible_spacing_is_refused(call):
    with pytest.raises(ValueError, match="positive"):
        call(Grid((4, 4, 4), np.eye(4)))


def itk_image(itk, data, grid):
    lps = np.diag([-1.0, -1, 1, 1]) @ grid.affine
    image = itk.image_from_array(np.ascontiguousarray(np.asarray(data, np.float32).T))
    image.SetSpacing([float(value) for value in grid.spacing_mm])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / np.array(grid.spacing_mm)))
    return image


@pytest.mark.reference
@pytest.mark.parametrize("angles_deg", [(0, 0, 0), (12, -7, 25)])
def test_cubic_resampling_equals_itk_inside_the_field_of_view(brain, angles_deg):
    itk = pytest.importorskip("itk")
    source = Grid(brain.shape, oblique_affine((3, 4, 5), (1.0, 1.0, 3.0), (-10, 5, 2)))
    centre = source.world((np.array(source.shape) - 1) / 2)
    rotation = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation @ source.affine[:3, :3] / np.array(source.spacing_mm)
    affine[:3, 3] = centre - affine[:3, :3] @ [11.5, 11.5, 11.5]
    target = Grid((24, 24, 24), affine)
    image = itk_image(itk, brain, source)
    interpolator = itk.BSplineInterpolateImageFunction.New(image, spline_order=3)
    expected = itk.resample_image_filter(
        image,
        interpolator=interpolator,
        use_reference_image=True,
        reference_image=itk_image(itk, np.zeros(target.shape), target),
    )
    expected = itk.array_from_image(expected).T
    result = resample(brain, source, target, antialias=False)
    np.testing.assert_allclose(result, expected, atol=2e-4 * brain.max())


@pytest.mark.slow
def test_a_whole_head_takes_seconds():
    source = Grid((240, 240, 31), np.diag([1, 1, 5.0, 1]))
    data = np.ones(source.shape, np.float32)
    started = time.perf_counter()
    result = resample(data, source, isotropic_grid(source, 2))
    assert result.shape == (240, 240, 155)
    assert time.perf_counter() - started < 5
