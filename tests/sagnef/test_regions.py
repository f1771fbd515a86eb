"""Regions state what they hold and what their range is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from revoxel.core.metrics import score
from revoxel.sagnef.regions import RegionName, brain_region, margin_voxels, scored_regions


@pytest.fixture
def head() -> np.ndarray:
    """A ball of tissue in a noisy background, as with the skull on."""
    rng = np.random.default_rng(0)
    radius = np.linalg.norm(np.indices((30, 30, 30)) - 14.5, axis=0)
    tissue = np.where(radius < 9, 100 + ndimage.gaussian_filter(rng.normal(size=(30,) * 3), 1) * 30, 0)
    return (tissue + np.abs(rng.normal(size=(30,) * 3))).astype(np.float32)


def test_skull_stripped_truth_is_told_from_a_head(brain: np.ndarray, head: np.ndarray) -> None:
    assert "skull-stripped" in brain_region(brain, 2).description
    assert "Otsu" in brain_region(head, 2).description


def test_brain_is_grown_by_the_margin(brain: np.ndarray) -> None:
    grown = ndimage.distance_transform_edt(~(brain > 0)) <= 3
    np.testing.assert_array_equal(brain_region(brain, 3).mask, grown)


def test_full_volume_and_brain_have_the_ranges_of_the_specification(brain: np.ndarray) -> None:
    full, inside = scored_regions(brain, 3)
    assert (full.name, full.mask) == (RegionName.FULL, None)
    assert full.data_range == pytest.approx(brain.max())
    assert inside.data_range == pytest.approx(np.percentile(brain[inside.mask], 99.9))
    noisy = (brain + np.random.default_rng(0).normal(0, 3, brain.shape)).astype(np.float32)
    assert inside.score(noisy, brain) == score(noisy, brain, inside.mask)


def test_tumour_shares_the_range_of_the_brain(brain: np.ndarray) -> None:
    lesion = brain > 120
    _, inside, tumour = scored_regions(brain, 3, lesion)
    assert (tumour.name, tumour.data_range) == (RegionName.TUMOUR, inside.data_range)
    assert tumour.score(brain + 1, brain).rmse == pytest.approx(1)


def test_empty_labels_give_no_tumour_region(brain: np.ndarray) -> None:
    assert len(scored_regions(brain, 3, np.zeros(brain.shape, dtype=bool))) == 2


@pytest.mark.parametrize(
    ("separation_mm", "spacing_mm", "voxels"), [(5, 1, 5), (5, 0.99999, 5), (5, 0.9, 6), (6.5, 1, 7)]
)
def test_margin_is_the_separation_rounded_up(separation_mm: float, spacing_mm: float, voxels: int) -> None:
    assert margin_voxels(separation_mm, spacing_mm) == voxels
