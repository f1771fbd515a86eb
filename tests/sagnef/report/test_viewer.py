"""The viewer's sprites are laid out as nilearn lays out its own, and its page names no address."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from nilearn.plotting.html_stat_map import _data_to_sprite

from report_folder import attributes
from revoxel.core.geometry import Grid
from revoxel.sagnef.report.display import view_of
from revoxel.sagnef.report.material import Material
from revoxel.sagnef.report.pictures import window_of
from revoxel.sagnef.report.viewer import _Solid, _tiles, slice_viewer


@pytest.mark.reference
@pytest.mark.parametrize("shape", [(5, 4, 3), (16, 7, 9), (17, 3, 8)])
def test_tiles_lie_where_nilearn_looks_for_them(shape) -> None:
    data = np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)
    np.testing.assert_array_equal(_tiles(data[..., None])[..., 0], _data_to_sprite(data))


def test_page_holds_every_volume_and_no_address(run, material) -> None:
    view = view_of(material)
    viewer = slice_viewer("<b>name", material, view, window_of(material, view))
    titles = re.findall(r'<option value="data:[^>]*>([^<]*)</option>', viewer.html)
    assert titles == ["fused", "thick slices", *material.experts, "truth", "error of fused"]
    assert "<b>name" not in viewer.html
    assert "&lt;b&gt;name" in viewer.html
    addresses = attributes(viewer.html)["src"] + attributes(viewer.html)["href"]
    assert all(address.startswith("data:") for address in addresses)
    assert len(viewer.scripts) == 4


def test_viewer_works_without_weights_experts_and_truth(material) -> None:
    bare = Material(material.grid, material.fused)
    view = view_of(bare)
    html = slice_viewer("bare", bare, view, window_of(bare, view)).html
    assert re.findall(r'<option value="data:[^>]*>([^<]*)</option>', html) == ["fused"]


def test_voxels_become_cubes(material) -> None:
    affine = material.grid.affine @ np.diag([1, 1, 2, 1])
    slabs = replace(material, grid=Grid(material.grid.shape, affine))
    view = view_of(slabs)
    solid = _Solid.of(view)
    assert solid.voxel_mm == 1
    assert solid.shape == (view.shape[0], view.shape[1], 2 * view.shape[2])
    assert solid.cut(slabs.fused).shape == solid.shape
