import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revoxel.core.window_cover import Sides, choose_windows, cover, hull, same_sized, voxels_of


def ball(side):
    axes = np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij", sparse=True)
    return sum(axis**2 for axis in axes) < 0.8


def sides_of(box):
    return tuple(part.stop - part.start for part in box)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(2, 40)] * 3),
    window=st.integers(2, 16),
    overlap=st.floats(0, 0.9),
    most=st.integers(0, 40**3),
)
def test_windows_cover_every_active_voxel_and_stay_inside(shape, window, overlap, most):
    least = tuple(min(window, side) for side in shape)
    active = np.random.default_rng(sum(shape)).random(shape) > 0.97
    covered = np.zeros(shape, dtype=bool)
    for box in choose_windows(active, least, overlap, most):
        assert all(0 <= part.start < part.stop <= side for part, side in zip(box, shape, strict=True))
        assert all(side >= small for side, small in zip(sides_of(box), least, strict=True))
        assert sides_of(box) == least or voxels_of(box) <= most
        covered[box] = True
    assert covered[active].all()


@given(extent=st.integers(17, 200), most=st.integers(16, 60), overlap=st.integers(0, 15))
def test_neighbours_share_the_overlap(extent, most, overlap):
    boxes = list(cover(np.ones(extent, dtype=bool), Sides((16,), (most,), (overlap,))))
    for (left,), (right,) in itertools.pairwise(boxes):
        assert left.stop - right.start >= overlap


def test_windows_follow_the_outline_of_the_active_region():
    full = choose_windows(np.ones((96, 96, 96), dtype=bool), (16, 16, 16), 0.25, 0)
    assert len(choose_windows(ball(96), (16, 16, 16), 0.25, 0)) < 0.6 * len(full)


def test_room_for_larger_windows_leaves_less_to_compute():
    small, large = (choose_windows(ball(120), (32, 32, 32), 0.25, most) for most in (0, 64**3))
    assert sum(map(voxels_of, large)) < 0.7 * sum(map(voxels_of, small))


def test_windows_do_not_outgrow_the_bound():
    assert max(map(voxels_of, choose_windows(ball(120), (32, 32, 32), 0.25, 41**3))) <= 41**3


def test_nothing_active_needs_no_window():
    assert choose_windows(np.zeros((20, 20, 20), dtype=bool), (8, 8, 8), 0.25, 1e6) == []


def test_hull_holds_all_boxes():
    boxes = [(slice(3, 5), slice(0, 2)), (slice(1, 4), slice(7, 9))]
    assert hull(boxes) == (slice(1, 5), slice(0, 9))


@pytest.mark.parametrize(
    ("most", "lengths"), [(0, [1, 1, 1, 1, 1]), (5, [2, 1, 1, 1]), (6, [3, 2]), (9, [3, 2])]
)
def test_only_windows_of_equal_sides_run_together_as_far_as_the_bound_allows(most, lengths):
    boxes = [(slice(start, start + 2),) for start in range(3)] + [(slice(0, 3),), (slice(1, 4),)]
    batches = list(same_sized(boxes, most))
    assert [len(batch) for batch in batches] == lengths
    assert list(itertools.chain(*batches)) == boxes
