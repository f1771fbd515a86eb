import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from revoxel.sagnef.simplex import StackingStatistics, fit_simplex


def stack(seed=0, n_experts=4, shape=(9, 10, 11)):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(shape, generator=generator)
    noise = torch.randn((n_experts, *shape), generator=generator)
    levels = 0.05 + torch.rand((n_experts, 1, 1, 1), generator=generator)
    return truth + levels * (noise + noise[:1]), truth


@pytest.mark.reference
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n_experts=st.integers(1, 5))
def test_solution_equals_a_general_solver(seed, n_experts):
    statistics = StackingStatistics.of_volume(*stack(seed, n_experts))
    weights = fit_simplex(statistics)
    oracle = minimize(
        statistics.mean_squared_error,
        np.full(n_experts, 1 / n_experts),
        bounds=[(0, 1)] * n_experts,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert statistics.mean_squared_error(weights) <= oracle.fun + 1e-9


def test_known_mixture_is_found():
    experts, _ = stack()
    expected = np.array([0.0, 0.3, 0.7, 0.0])
    truth = (experts * torch.tensor(expected, dtype=torch.float32)[:, None, None, None]).sum(dim=0)
    weights = fit_simplex(StackingStatistics.of_volume(experts, truth))
    np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_one_dominant_expert_takes_all():
    experts, truth = stack()
    experts[1] = truth
    assert fit_simplex(StackingStatistics.of_volume(experts, truth)).tolist() == [0, 1, 0, 0]


def test_equal_experts_do_not_break_the_solver():
    experts, truth = stack()
    weights = fit_simplex(StackingStatistics.of_volume(experts[:1].expand(3, -1, -1, -1), truth))
    assert weights.sum() == pytest.approx(1)
    assert np.count_nonzero(weights) == 1


def test_streamed_volumes_equal_one_large_volume():
    experts, truth = stack(shape=(12, 10, 11))
    parts = [StackingStatistics.of_volume(experts[:, cut], truth[cut]) for cut in (slice(0, 5), slice(5, 12))]
    whole = StackingStatistics.of_volume(experts, truth)
    streamed = parts[0] + parts[1]
    np.testing.assert_allclose(streamed.gram, whole.gram)
    np.testing.assert_allclose(streamed.cross, whole.cross)
    assert streamed.energy == pytest.approx(whole.energy)
    assert streamed.n_voxels == whole.n_voxels


def test_voxels_outside_the_mask_do_not_count():
    experts, truth = stack()
    mask = truth > 0.5
    damaged = torch.where(mask, experts, 50.0)
    inside = fit_simplex(StackingStatistics.of_volume(experts, truth, mask))
    np.testing.assert_array_equal(fit_simplex(StackingStatistics.of_volume(damaged, truth, mask)), inside)


def test_error_equals_the_direct_one():
    experts, truth = stack()
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    mixture = (experts * torch.tensor(weights, dtype=torch.float32)[:, None, None, None]).sum(dim=0)
    direct = float((mixture - truth).square().mean())
    assert StackingStatistics.of_volume(experts, truth).mean_squared_error(weights) == pytest.approx(
        direct, rel=1e-5
    )


def test_scale_of_the_intensities_does_not_matter():
    experts, truth = stack()
    weights = fit_simplex(StackingStatistics.of_volume(experts, truth))
    scaled = fit_simplex(StackingStatistics.of_volume(5000 * experts, 5000 * truth))
    np.testing.assert_allclose(scaled, weights, atol=1e-6)


def test_empty_mask_and_other_grid_are_refused():
    experts, truth = stack()
    with pytest.raises(ValueError, match="voxels"):
        fit_simplex(StackingStatistics.of_volume(experts, truth, torch.zeros_like(truth)))
    with pytest.raises(ValueError, match="one grid"):
        StackingStatistics.of_volume(experts, truth[1:])
