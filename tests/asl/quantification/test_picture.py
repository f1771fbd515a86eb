"""The picture shows the head as readers expect it, with units and without what the scan could not tell."""

from __future__ import annotations

import numpy as np
import pytest

from revoxel.asl.quantification.estimation import Estimate, PerfusionMaps
from revoxel.asl.quantification.picture import draw_maps
from revoxel.core.geometry import Grid

SHAPE = (8, 10, 5)
MASK = np.ones(SHAPE, bool)


def estimate(cbf: np.ndarray, *, single: bool = False) -> Estimate:
    more = None if single else np.full_like(cbf, 1000)
    maps = PerfusionMaps(cbf, more, cbf, more)
    return Estimate(maps, maps, np.zeros(cbf.shape, bool), None, "unknown")


def panels(figure) -> dict[str, np.ndarray]:
    return {axis.get_title(): axis.images[0].get_array() for axis in figure.axes if axis.images}


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, -1)])
def test_left_is_left_and_front_is_up_however_the_file_is_stored(signs):
    affine = np.diag([3.0 * signs[0], 3.0 * signs[1], 5.0 * signs[2], 1.0])
    upright = np.ones(SHAPE, np.float32)
    upright[0] = 50  # left side
    upright[:, -1] = 100  # front
    stored = upright[:: signs[0], :: signs[1], :: signs[2]]
    figure = draw_maps(estimate(stored), stored, MASK, Grid(SHAPE, affine), "x")
    slice_ = panels(figure)["CBF"][: SHAPE[1], : SHAPE[0]]
    assert (slice_[:-1, 0] == 50).all()
    assert (slice_[-1] == 100).all()
    assert (slice_[:-1, 1:] == 1).all()


def test_every_map_has_its_unit():
    cbf = np.ones(SHAPE, np.float32)
    figure = draw_maps(estimate(cbf), cbf, MASK, Grid(SHAPE, np.eye(4)), "x")
    assert set(panels(figure)) == {
        "CBF",
        "CBF, standard deviation",
        "ATT",
        "ATT, standard deviation",
        "at a bound of the fit",
        "M0 and mask",
    }
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert labels.count("ml/100g/min") == 2
    assert labels.count("ms") == 2


def test_what_a_single_delay_cannot_tell_is_not_drawn():
    cbf = np.ones(SHAPE, np.float32)
    figure = draw_maps(estimate(cbf, single=True), cbf, MASK, Grid(SHAPE, np.eye(4)), "x")
    assert set(panels(figure)) == {"CBF", "CBF, standard deviation", "M0 and mask"}


def test_voxels_outside_the_mask_are_left_blank():
    cbf = np.ones(SHAPE, np.float32)
    mask = MASK.copy()
    mask[:4] = False
    figure = draw_maps(estimate(cbf), cbf, mask, Grid(SHAPE, np.eye(4)), "x")
    shown = np.ma.filled(panels(figure)["CBF"], np.nan)
    assert np.isnan(shown[: SHAPE[1], :4]).all()
    assert (shown[: SHAPE[1], 4:8] == 1).all()
