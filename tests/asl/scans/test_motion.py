"""Rigid motion is found, undone and told in mm."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from revoxel.asl.scans.motion import realign
from revoxel.core.geometry import Grid, resample

SPACING_MM = np.array([4.0, 4.0, 5.0])


def moved_head() -> tuple[np.ndarray, np.ndarray, Grid, np.ndarray]:
    """A head, the same after a known motion, their grid, and the motion in RAS."""
    rng = np.random.default_rng(0)
    shape = (28, 30, 14)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(shape) - 1) / 2
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.6
    texture = gaussian_filter(rng.standard_normal(shape), 2.0)
    image = gaussian_filter(inside * (100 + 400 * texture), 0.7).astype(np.float32)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", [3, -2, 4], degrees=True).as_matrix()
    motion[:3, 3] = [2.0, -3.0, 1.5]
    grid = Grid(shape, affine)
    pulled = Grid(shape, np.linalg.inv(motion) @ affine)
    return image, resample(image, grid, pulled, antialias=False), grid, motion


@pytest.mark.slow
def test_motion_is_undone_and_measured():
    image, moved, grid, motion = moved_head()
    shares = []
    result = realign(np.stack([image, moved]), grid, image, shares.append)
    bright = grid.world(np.argwhere(image > image.mean()).astype(float))
    expected_mm = np.linalg.norm(bright @ motion[:3, :3].T + motion[:3, 3] - bright, axis=1).mean()
    assert result.displacements_mm[0] < 0.1
    assert result.displacements_mm[1] == pytest.approx(expected_mm, rel=0.15)
    inner = (slice(6, -6), slice(6, -6), slice(4, -4))
    before, after = (np.abs(volume - image)[inner].mean() for volume in (moved, result.volumes[1]))
    assert after < 0.25 * before
    assert shares == [0.5, 1.0]


def test_too_few_slices_are_refused():
    grid = Grid((5, 5, 3), np.eye(4))
    with pytest.raises(ValueError, match=r"at least 4 slices, got \(5, 5, 3\); use --motion none"):
        realign(np.zeros((1, 5, 5, 3)), grid, np.zeros((5, 5, 3)))
