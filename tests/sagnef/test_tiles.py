"""Tile stacking: the tiles' sums are the global sums, and the weights follow anatomy, not array order."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from revoxel.sagnef.simplex import StackingStatistics, fit_simplex
from revoxel.sagnef.tiles import N_TILES, TileStatistics, fit_tiles, mix_tiles

SHAPE = (24, 32, 24)


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).normal(1, 0.3, SHAPE).astype(np.float32)


@pytest.fixture
def mask() -> np.ndarray:
    inside = np.zeros(SHAPE, dtype=bool)
    inside[2:-2, 1:-1, 3:-3] = True
    return inside


def halves(truth: np.ndarray) -> list[np.ndarray]:
    """One expert that is exact in the left half, one that is exact in the right half."""
    noise = np.random.default_rng(1).normal(0, 0.3, SHAPE).astype(np.float32)
    left = np.arange(SHAPE[0])[:, None, None] < SHAPE[0] // 2
    return [truth + np.where(left, 0, noise), truth + np.where(left, noise, 0)]


def test_sums_of_the_tiles_are_the_sums_of_the_head(truth: np.ndarray, mask: np.ndarray) -> None:
    experts = halves(truth)
    pooled = TileStatistics.of_volume(experts, truth, mask, np.eye(4)).pooled()
    whole = StackingStatistics.of_volume(*map(torch.from_numpy, (np.stack(experts), truth, mask)))
    np.testing.assert_allclose(pooled.gram, whole.gram)
    np.testing.assert_allclose(pooled.cross, whole.cross)
    assert pooled.energy == pytest.approx(whole.energy)
    assert pooled.n_voxels == whole.n_voxels


def test_tiles_find_the_expert_that_is_right_on_their_side(truth: np.ndarray, mask: np.ndarray) -> None:
    statistics = TileStatistics.of_volume(halves(truth), truth, mask, np.eye(4))
    # As many voxels as in a real head: the prior of the whole head must not rule a tile.
    real = TileStatistics(1e3 * statistics.moments, 1e3 * statistics.n_voxels)
    weights = fit_tiles(real)
    assert weights.shape == (*N_TILES, 2)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert (weights[:3, ..., 0] > 0.9).all()
    assert (weights[3:, ..., 1] > 0.9).all()


def test_tile_without_voxels_gets_the_global_weights(truth: np.ndarray) -> None:
    corner = np.ones(SHAPE, dtype=bool)
    corner[:4, :4, :4] = False
    statistics = TileStatistics.of_volume(halves(truth), truth, corner, np.eye(4))
    assert statistics.n_voxels[0] == 0
    np.testing.assert_allclose(fit_tiles(statistics)[0, 0, 0], fit_simplex(statistics.pooled()), atol=1e-6)


@pytest.mark.parametrize("turn", [[[2, -1], [0, 1], [1, -1]], [[0, -1], [1, 1], [2, 1]]])
def test_mixture_is_the_same_however_the_voxels_are_stored(
    truth: np.ndarray, mask: np.ndarray, turn: list[list[int]]
) -> None:
    experts = dict(zip("AB", halves(truth), strict=True))
    weights = np.random.default_rng(2).dirichlet((1, 1), N_TILES)
    straight = mix_tiles(experts, weights, mask, np.eye(4))

    def turned(volume: np.ndarray) -> nib.Nifti1Image:
        return nib.Nifti1Image(volume.astype(np.float32), np.eye(4)).as_reoriented(np.array(turn))

    images = {name: turned(volume) for name, volume in experts.items()}
    arrays = {name: np.asarray(image.dataobj) for name, image in images.items()}
    affine = images["A"].affine
    other = mix_tiles(arrays, weights, np.asarray(turned(mask).dataobj) > 0, affine)
    np.testing.assert_allclose(other, np.asarray(turned(straight).dataobj), rtol=1e-5)


def test_equal_weights_everywhere_are_the_global_mixture(truth: np.ndarray, mask: np.ndarray) -> None:
    first, second = halves(truth)
    weights = np.broadcast_to([0.3, 0.7], (*N_TILES, 2))
    mixed = mix_tiles({"A": first, "B": second}, weights, mask, np.eye(4))
    np.testing.assert_allclose(mixed, 0.3 * first + 0.7 * second, rtol=1e-5)


def test_statistics_of_two_volumes_add_up(truth: np.ndarray, mask: np.ndarray) -> None:
    one = TileStatistics.of_volume(halves(truth), truth, mask, np.eye(4))
    both = one + one
    np.testing.assert_allclose(fit_simplex(both.pooled()), fit_simplex(one.pooled()), atol=1e-9)
    assert both.n_voxels.sum() == 2 * mask.sum()
