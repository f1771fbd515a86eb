import numpy as np
import pytest

from revoxel.ct.evaluation.baselines import Unsharp, best_unsharp, constant, fit_unsharp, unsharp
from revoxel.ct.evaluation.scores import FIGURE_WINDOW
from revoxel.ct.refinement.steps import trilinear


@pytest.fixture(scope="module")
def pair():
    """A ball with an edge, and what trilinear interpolation makes of its block means."""
    axes = np.indices((32, 32, 32)) - 15.5
    truth = np.where((axes**2).sum(axis=0) < 121, 300.0, -700.0).astype(np.float32)
    coarse = truth.reshape(8, 4, 8, 4, 8, 4).mean(axis=(1, 3, 5))
    return trilinear(coarse, 4), truth


def error(volume, truth):
    return float(np.mean((FIGURE_WINDOW.clip(volume) - truth) ** 2))


def test_fixed_amount_is_the_best_for_its_volume(pair):
    """Closed form against a search around it; values stay inside the window here."""
    volume, truth = pair
    mask = np.ones(truth.shape, dtype=bool)
    best = best_unsharp([fit_unsharp(volume, truth, mask)], ["P1"])
    sharpened = [
        error(unsharp(volume, Unsharp(best.sigma_voxels, best.amount * f)), truth) for f in (0.8, 1, 1.2)
    ]
    assert sharpened[1] == min(sharpened)
    assert sharpened[1] < error(volume, truth)
    assert "P1" in best.source


def test_without_training_patients_the_stated_default_is_used():
    assert best_unsharp([], []) == Unsharp()


def test_constant_volume_has_the_mean_of_the_coarse_one(pair):
    volume, _ = pair
    flat = constant(volume, (2, 2, 2))
    assert flat.shape == (2, 2, 2)
    np.testing.assert_allclose(flat, volume.mean(), rtol=1e-5)
