"""The stack keeps one order, one grid and one intensity map, and reports what it repaired."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from revoxel.core.geometry import Grid
from revoxel.core.intensity import IntensityMap
from revoxel.core.volumes import Volume
from revoxel.experts.names import Expert
from revoxel.sagnef.stack import ExpertStack, ProfileWidths, displacement_voxels, stack_volumes

SHAPE = (10, 12, 14)
GRID = Grid(SHAPE, np.eye(4))


def _volume(seed: int, grid: Grid = GRID) -> Volume:
    return Volume(np.random.default_rng(seed).random(grid.shape, dtype=np.float32) * 100, grid)


def _stack(axis: int = 2) -> ExpertStack:
    experts = {expert: _volume(seed).data for seed, expert in enumerate(reversed(Expert))}
    return ExpertStack(experts, _volume(9).data, GRID, axis, IntensityMap(scale=0.01, shift=0.0))


def test_order_is_the_enums_whatever_was_given() -> None:
    assert _stack().order == tuple(Expert)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_axis_goes_last_and_comes_back(axis: int) -> None:
    stack = _stack(axis)
    tensor = stack.expert_tensor()
    assert tensor.shape[-1] == SHAPE[axis]
    np.testing.assert_allclose(stack.to_grid(tensor[0, 0]) * 100, stack.experts[Expert.BSPLINE], rtol=1e-5)
    assert stack.to_grid(tensor[0]).shape == (4, *SHAPE)


def test_channels_are_profile_scan_experts() -> None:
    stack = _stack()
    channels = stack.network_input(ProfileWidths(0.4, 0.5, 0.9))
    assert channels.shape == (1, 8, *SHAPE)
    for plane, value in enumerate((0.4, 0.5, 0.9)):
        assert channels[0, plane].unique().tolist() == pytest.approx([value])
    assert torch.equal(channels[0, 3], stack.to_mapped(stack.low_on_high))
    assert torch.equal(channels[:, 4:], stack.expert_tensor())
    assert stack.network_input(None).shape[1] == 5


def test_agreement_is_where_all_are_equal() -> None:
    experts = {expert: np.full(SHAPE, 3.0, dtype=np.float32) for expert in Expert}
    experts[Expert.SMORE][2:4] = 5.0
    stack = ExpertStack(experts, experts[Expert.BSPLINE], GRID, 2, IntensityMap(1.0, 0.0))
    assert stack.agreement().sum() == 8 * 12 * 14


def test_same_grid_is_taken_as_it_is() -> None:
    experts = {expert: _volume(seed) for seed, expert in enumerate(Expert)}
    stack = stack_volumes(experts, _low(), 2)
    assert stack.notes == ()
    assert stack.experts[Expert.SMORE] is experts[Expert.SMORE].data


def test_small_offset_is_repaired_on_a_copy_and_reported() -> None:
    affine = np.eye(4)
    affine[2, 3] = 1.0
    moved = _volume(1, Grid(SHAPE, affine))
    before = moved.data.copy()
    stack = stack_volumes({Expert.BSPLINE: _volume(0), Expert.SMORE: moved}, _low(), 2)
    assert "SMORE lay 1.00 voxels off" in stack.notes[0]
    np.testing.assert_array_equal(moved.data, before)
    np.testing.assert_allclose(stack.experts[Expert.SMORE][..., 5], before[..., 4], atol=1e-3)


def test_one_slice_more_is_repaired_too() -> None:
    longer = _volume(1, Grid((10, 12, 15), np.eye(4)))
    stack = stack_volumes({Expert.BSPLINE: _volume(0), Expert.SMORE: longer}, _low(), 2)
    np.testing.assert_allclose(stack.experts[Expert.SMORE], longer.data[..., :14], atol=1e-3)


def test_large_offset_names_the_expert_and_the_distance() -> None:
    affine = np.eye(4)
    affine[0, 3] = 8.0
    with pytest.raises(ValueError, match=r"UNIRES .* within 3 voxels of the grid, got 8\.00"):
        stack_volumes({Expert.BSPLINE: _volume(0), Expert.UNIRES: _volume(1, Grid(SHAPE, affine))}, _low(), 2)


def test_displacement_is_in_voxels_of_the_first_grid() -> None:
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    moved = coarse.copy()
    moved[1, 3] = 3.0
    assert displacement_voxels(Grid(SHAPE, coarse), Grid(SHAPE, moved)) == pytest.approx(1.5)


def test_no_expert_is_refused() -> None:
    with pytest.raises(ValueError, match="BSPLINE, ECLARE, SMORE, UNIRES, got none"):
        stack_volumes({}, _low(), 2)


def test_wrong_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="LR must have the shape"):
        ExpertStack(
            {Expert.SMORE: _volume(0).data}, np.zeros((3, 3, 3), np.float32), GRID, 2, IntensityMap(1, 0)
        )


def _low() -> Volume:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[2, 3] = 0.5
    return _volume(5, Grid((10, 12, 7), affine))
