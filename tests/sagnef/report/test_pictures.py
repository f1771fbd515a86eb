"""Pictures share one window; experts differ in colour and in hatch."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from revoxel.experts.names import Expert
from revoxel.sagnef.report.display import Plane, view_of
from revoxel.sagnef.report.pictures import (
    Window,
    _hatch,
    dominant_map,
    encode,
    error_of,
    slice_columns,
    weight_columns,
    window_of,
)


def decoded(uri: str) -> np.ndarray:
    return imread(BytesIO(b64decode(uri.partition(",")[2])), format="webp")


def test_every_volume_is_a_column_of_three_planes(material) -> None:
    view = view_of(material)
    columns = slice_columns(material, view, window_of(material, view))
    titles = [column.title for column in columns]
    assert titles == ["thick slices", *Expert, "fused", "truth", "error of fused"]
    pictures = columns[0].pictures
    assert set(pictures) == set(Plane)
    assert pictures[Plane.AXIAL].alt == "thick slices, axial slice"
    shape = decoded(pictures[Plane.CORONAL].uri).shape[:2]
    assert shape == view.slice(material.fused, Plane.CORONAL).shape


def test_without_a_truth_no_error_is_shown(material) -> None:
    known_alone = replace(material, truth=None, known=(), low=None)
    view = view_of(known_alone)
    columns = slice_columns(known_alone, view, window_of(known_alone, view))
    assert [column.title for column in columns] == [*Expert, "fused"]
    assert not error_of(known_alone).any()


def test_window_maps_its_ends_to_black_and_white() -> None:
    window = Window(low=10, high=20, error=2)
    np.testing.assert_array_equal(window.grey(np.array([5, 10, 15, 20, 99]))[:, 0], [0, 0, 127, 255, 255])


def test_error_is_white_where_right_and_coloured_by_its_sign() -> None:
    dark, right, bright = Window(0, 1, 0.2).colour_error(np.array([-0.2, 0.0, 0.2])).astype(int)
    assert right.min() > 240
    assert dark[0] > dark[2] + 50, "orange"
    assert bright[2] > bright[1] + 50, "purple"


def test_hatches_differ_between_experts() -> None:
    hatches = [_hatch(number, (60, 60)) for number in range(len(Expert))]
    for number, hatch in enumerate(hatches):
        assert 0.05 < hatch.mean() < 0.3
        assert all((hatch != other).mean() > 0.1 for other in hatches[:number])


def test_dominant_expert_is_the_one_with_the_largest_weight(material) -> None:
    weights = {name: np.full(material.grid.shape, 0.1, np.float32) for name in Expert}
    weights["SMORE"][:20] = 0.7
    weights["ECLARE"][20:] = 0.7
    ruling = dominant_map(replace(material, weights=weights))
    assert set(np.unique(ruling[:20])) == {0, 3}
    assert set(np.unique(ruling[20:])) == {0, 2}
    assert not ruling[~material.head].any()


def test_weights_are_shown_one_by_one_and_together(material) -> None:
    weights = {name: share.copy() for name, share in material.weights.items()}
    weights["SMORE"][:20] += 0.1
    material = replace(material, weights=weights)
    view = view_of(material)
    columns = weight_columns(material, view, window_of(material, view))
    assert [column.title for column in columns] == [*(f"weight of {e}" for e in Expert), "dominant expert"]
    enlarged = decoded(columns[-1].pictures[Plane.AXIAL].uri).shape
    assert enlarged[0] == 3 * view.slice(material.fused, Plane.AXIAL).shape[0]


@pytest.mark.parametrize("names", [(), tuple(Expert)])
def test_weights_that_are_the_same_everywhere_are_not_mapped(material, names) -> None:
    view = view_of(material)
    flat = replace(material, weights={name: np.full(material.grid.shape, 0.25) for name in names})
    assert weight_columns(flat, view, window_of(flat, view)) == []


def test_picture_comes_back_nearly_unchanged() -> None:
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 32, axis=0).repeat(3, axis=2)
    difference = decoded(encode(ramp))[..., :3].astype(int) - ramp
    assert np.abs(difference).mean() < 3


def test_constant_volume_has_a_window(material) -> None:
    view = view_of(material)
    flat = replace(material, truth=np.ones_like(material.fused))
    assert window_of(flat, view).high > window_of(flat, view).low
