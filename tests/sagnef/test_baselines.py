"""Mixtures without a gate, and oracles that bound what a choice among the experts could reach."""

from __future__ import annotations

import numpy as np
import pytest

from revoxel.core.metrics import rmse, score
from revoxel.sagnef.baselines import Baseline, best_row, locally_best, mix, mixture_volumes, oracle_volumes

SHAPE = (12, 11, 10)


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 10, SHAPE).astype(np.float32)


@pytest.fixture
def experts(truth: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: (truth + rng.normal(0, spread, SHAPE)).astype(np.float32) for name, spread in
            (("A", 3), ("B", 4), ("C", 6))}  # fmt: skip


def test_mean_and_median_are_numpys(experts: dict[str, np.ndarray]) -> None:
    rows = dict(mixture_volumes(experts))
    stack = np.stack(list(experts.values()))
    np.testing.assert_allclose(rows[Baseline.MEAN], stack.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(rows[Baseline.MEDIAN], np.median(stack, axis=0), rtol=1e-6)
    assert Baseline.SIMPLEX not in rows


def test_global_weights_blend_the_experts(experts: dict[str, np.ndarray]) -> None:
    weights = {"A": 0.75, "B": 0.0, "C": 0.25}
    rows = dict(mixture_volumes(experts, weights))
    np.testing.assert_allclose(rows[Baseline.SIMPLEX], 0.75 * experts["A"] + 0.25 * experts["C"], rtol=1e-5)
    np.testing.assert_array_equal(mix(experts, {"A": 1.0, "B": 0.0, "C": 0.0}), experts["A"])


def test_oracles_are_no_worse_than_any_expert_and_ordered(
    experts: dict[str, np.ndarray], truth: np.ndarray
) -> None:
    rows = dict(oracle_volumes(experts, truth))
    best = min(rmse(volume, truth) for volume in experts.values())
    assert rmse(rows[Baseline.ORACLE_VOXEL], truth) < rmse(rows[Baseline.ORACLE_CUBE], truth) <= best


def test_voxel_oracle_stays_between_the_experts(experts: dict[str, np.ndarray], truth: np.ndarray) -> None:
    oracle = dict(oracle_volumes(experts, truth))[Baseline.ORACLE_VOXEL]
    stack = np.stack(list(experts.values()))
    assert ((oracle >= stack.min(axis=0)) & (oracle <= stack.max(axis=0))).all()


@pytest.mark.reference
def test_local_choice_equals_a_choice_by_hand(truth: np.ndarray) -> None:
    """Two experts, each exact in one half: every cube that lies in one half takes that half's expert."""
    left, right = truth.copy(), truth.copy()
    left[6:] += 5
    right[:6] -= 5
    chosen = locally_best({"left": left, "right": right}, truth, side=3)
    np.testing.assert_array_equal(chosen[:5], left[:5])
    np.testing.assert_array_equal(chosen[7:], right[7:])


def test_cube_of_one_voxel_takes_the_nearest_expert(
    experts: dict[str, np.ndarray], truth: np.ndarray
) -> None:
    stack = np.stack(list(experts.values()))
    nearest = np.take_along_axis(stack, np.abs(stack - truth).argmin(axis=0)[None], axis=0)[0]
    np.testing.assert_array_equal(locally_best(experts, truth, side=1), nearest)


def test_best_row_has_the_least_error(experts: dict[str, np.ndarray], truth: np.ndarray) -> None:
    scores = {name: score(volume, truth) for name, volume in experts.items()}
    assert best_row(scores, ["B", "C", "A"]) == "A"
    assert best_row(scores, ["B", "C"]) == "B"
