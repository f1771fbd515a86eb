"""Slices look the same however the volume is stored."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from revoxel.core.geometry import Grid
from revoxel.sagnef.report.display import Plane, view_of
from revoxel.sagnef.report.material import Material

STORED = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes, flips in product(permutations(range(3)), product((1, -1), repeat=3))
]


def stored_otherwise(material: Material, orientation: np.ndarray) -> Material:
    def turn(volume):
        return np.ascontiguousarray(apply_orientation(volume, orientation))

    affine = material.grid.affine @ inv_ornt_aff(orientation, material.grid.shape)
    fused = turn(material.fused)
    experts = {name: turn(volume) for name, volume in material.experts.items()}
    return Material(Grid(fused.shape, affine), fused, turn(material.low), experts)


@pytest.mark.parametrize("orientation", STORED[::5])
def test_slices_do_not_depend_on_how_a_volume_is_stored(material, orientation) -> None:
    other = stored_otherwise(material, orientation)
    view, other_view = view_of(material), view_of(other)
    assert other_view.centre == view.centre
    assert other_view.spacing_mm == pytest.approx(view.spacing_mm)
    for plane in Plane:
        np.testing.assert_array_equal(other_view.slice(other.fused, plane), view.slice(material.fused, plane))


def test_axial_slice_has_the_front_on_top_and_the_left_on_the_left() -> None:
    data = np.zeros((30, 40, 20), np.float32)
    data[5:25, 5:35, 5:15] = 10
    data[6:9, 30:34, 5:15] = 100  # left and front, in axes to the right, to the front and up
    material = Material(Grid(data.shape, np.diag([1.0, 1.0, 2.0, 1.0])), data)
    view = view_of(material)
    rows, columns = np.nonzero(view.slice(data, Plane.AXIAL) == 100)
    height, width = view.slice(data, Plane.AXIAL).shape
    assert rows.max() < height / 3
    assert columns.max() < width / 3
    assert view.size_mm(Plane.AXIAL) == (width, height)
    assert view.size_mm(Plane.CORONAL)[1] == 2 * view.shape[2]


def test_planes_go_where_the_experts_differ(material) -> None:
    shape = material.grid.shape
    same = np.array(material.fused)
    apart = np.array(same)
    place = (18, 24, 17)
    apart[17:20, 23:26, 16:19] += 50
    view = view_of(replace(material, experts={"a": same, "b": apart}))
    centre = [part.start + step for part, step in zip(view.box, view.centre, strict=True)]
    assert shape == (40, 44, 32)
    assert np.abs(np.subtract(centre, place)).max() <= 2


def test_equal_experts_still_give_planes_inside(material) -> None:
    view = view_of(replace(material, experts={"a": material.fused, "b": material.fused}))
    assert all(0 <= place < size for place, size in zip(view.centre, view.shape, strict=True))
