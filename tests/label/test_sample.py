"""The sample study that `make label` begins with."""

import numpy as np

from conftest import synthetic_brain
from revoxel.core.geometry import Grid, slice_axis
from revoxel.core.volumes import Volume, read_volume
from revoxel.label.sample import PIECES, write_sample

SHAPE = (24, 24, 20)


def write(studies):
    return write_sample(studies, SHAPE, template=Volume(synthetic_brain(), Grid((40, 44, 36), np.eye(4))))


def test_scans_have_thick_slices_and_some_a_truth_on_the_fine_grid(tmp_path):
    scans = write(tmp_path / "study")
    assert len(scans) == len(PIECES)
    for piece, path in zip(PIECES, scans, strict=True):
        low = read_volume(path)
        assert low.grid.spacing_mm[slice_axis(low.grid)] == 5
        truth = tmp_path / "study" / "labels" / "final" / path.name
        assert truth.exists() == piece.with_truth
        if piece.with_truth:
            assert read_volume(truth).grid.shape == SHAPE


def test_what_is_there_is_left_alone(tmp_path):
    first = write(tmp_path)[0]
    first.write_bytes(b"mine")
    write(tmp_path)
    assert first.read_bytes() == b"mine"
