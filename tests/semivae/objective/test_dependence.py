"""Measures of dependence: unbiased where usual ones are not; they see what means and correlations miss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from laws import assert_gradient
from revoxel.semivae.objective import dependence
from revoxel.semivae.objective.dependence import (
    MEASURES,
    distance_correlations,
    kernel_correlations,
)
from semivae_naive import biased_distance_correlation, cross_partition_naive

D_FIRST, D_SECOND = 16, 24
Measure = Callable[..., Tensor]


def _without_queue(measure: Measure, *groups: Tensor) -> Tensor:
    return measure(groups, [group[:0] for group in groups])


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _one_factor(n: int = 256, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Two groups driven by one factor with signs that cancel in their means."""
    factor, numbers = _normal(n, 1, seed=1), _normal(n, D_FIRST + D_SECOND, seed=2)
    signs = torch.tensor([1.0, -1.0]).repeat((D_FIRST + D_SECOND) // 2)
    return (factor * signs + noise * numbers).split((D_FIRST, D_SECOND), dim=1)


def _quadratic(seed: int, n: int = 256, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """One group follows a factor, the other its square."""
    factor = _normal(n, 1, seed=seed)
    first, second = (
        noise * _normal(n, D_FIRST, seed=seed + 500),
        noise * _normal(n, D_SECOND, seed=seed + 900),
    )
    return factor + first, factor**2 + second


def _mean_square_correlation(first: Tensor, second: Tensor) -> Tensor:
    both = torch.corrcoef(torch.cat([first, second], dim=1).T)
    return both[: first.shape[1], first.shape[1] :].square().mean()


def _independent(n: int, repeats: int, measure: Measure) -> Tensor:
    draws = _normal(repeats, n, D_FIRST + D_SECOND, seed=n)
    return torch.stack([measure(*draw.split((D_FIRST, D_SECOND), dim=1)) for draw in draws])


@pytest.mark.reference
def test_naive_loss_is_zero_where_distance_correlation_is_one():
    first, second = _one_factor()
    both = torch.cat([first, second], dim=1)
    naive = cross_partition_naive(both, {"a": slice(0, D_FIRST), "b": slice(D_FIRST, None)})
    assert naive < 5e-4
    assert _mean_square_correlation(first, second) == pytest.approx(0.84, abs=0.03)
    assert biased_distance_correlation(first, second) == pytest.approx(0.986, abs=0.01)
    assert _without_queue(distance_correlations, first, second)[0, 1] == pytest.approx(0.986, abs=0.01)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("n", "biased", "deviation"), [(8, 0.91, 0.20), (32, 0.70, 0.046), (64, 0.54, 0.023), (256, 0.23, 0.006)]
)
def test_independent_groups_look_dependent_to_the_biased_measure_only(n, biased, deviation):
    # The biased figures are of the squared distance correlation.
    repeats = 200 if n < 256 else 30
    usual = _independent(n, repeats, biased_distance_correlation)
    assert usual.mean() == pytest.approx(biased, abs=0.02)
    for measure in MEASURES.values():
        values = _independent(n, repeats, lambda *groups, used=measure: _without_queue(used, *groups)[0, 1])
        assert abs(values.mean()) < 4 * deviation / repeats**0.5
        assert values.std() == pytest.approx(deviation, rel=0.35)


@pytest.mark.reference
def test_quadratic_dependence_is_seen_by_both_measures_and_not_by_correlation():
    draws = [_quadratic(seed) for seed in range(8)]
    means = [
        torch.stack([_without_queue(measure, *draw)[0, 1] for draw in draws]).mean()
        for measure in (distance_correlations, kernel_correlations)
    ]
    assert means[0] == pytest.approx(0.25, abs=0.03)
    assert means[1] == pytest.approx(0.46, abs=0.04)
    assert torch.stack([_mean_square_correlation(*draw) for draw in draws]).mean() == pytest.approx(
        0.016, abs=0.006
    )


@pytest.mark.reference
def test_statistic_is_the_product_of_u_centred_distances():
    first, second = _normal(12, 3).double(), _normal(12, 2, seed=1).double()

    def centred(x: Tensor) -> Tensor:
        # Szekely and Rizzo 2014, definition 2.
        distances, n = torch.cdist(x, x), len(x)
        rows = distances.sum(dim=1)
        matrix = distances - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
        return matrix.fill_diagonal_(0)

    a, b = centred(first), centred(second)
    expected = (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()
    torch.testing.assert_close(_without_queue(distance_correlations, first, second)[0, 1], expected)


@pytest.mark.reference
def test_kernel_statistic_is_the_unbiased_hsic():
    first, second = _normal(10, 3).double(), _normal(10, 2, seed=1).double()

    def hollow_kernel(x: Tensor) -> Tensor:
        square = torch.cdist(x, x) ** 2
        width = square[~torch.eye(len(x), dtype=torch.bool)].median()
        return torch.exp(-square / width).fill_diagonal_(0)

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        # Song et al. 2012, equation 4.
        n = len(a)
        trace, sums, middle = (a @ b).trace(), a.sum() * b.sum(), (a @ b).sum()
        return (trace + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * middle) / (n * (n - 3))

    a, b = hollow_kernel(first), hollow_kernel(second)
    expected = hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()
    torch.testing.assert_close(_without_queue(kernel_correlations, first, second)[0, 1], expected)


def test_queued_samples_count_as_samples():
    first, second = _one_factor(40)
    whole = _without_queue(distance_correlations, first, second)
    split = distance_correlations([first[:8], second[:8]], [first[8:], second[8:]])
    torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-5)


@pytest.fixture
def fixed_width(monkeypatch) -> None:
    """Width of the kernel that does not follow the samples, which gradients leave out and differences see."""
    monkeypatch.setattr(dependence, "_median", lambda *distances: 5.0)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("n_queued", [0, 9])
def test_gradient_is_that_of_finite_differences(measure, n_queued, fixed_width):
    queued = [_normal(n_queued, d, seed=d).double() for d in (2, 3, 4)]
    groups = [_normal(6, d, seed=10 + d).double().requires_grad_() for d in (2, 3, 4)]
    assert_gradient(lambda *new: measure(new, queued), *groups)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_scale_and_place_do_not_matter(measure):
    first, second = _quadratic(0, n=64)
    plain = _without_queue(measure, first, second)
    moved = _without_queue(measure, 7 * first + 3, 0.1 * second - 2)
    torch.testing.assert_close(moved, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_group_that_does_not_vary_depends_on_nothing(measure):
    constant = torch.zeros(16, 3, requires_grad=True)
    table = _without_queue(measure, constant, _normal(16, 2))
    table[0, 1].backward()
    assert table[0, 1].abs() < 1e-3
    assert torch.isfinite(constant.grad).all()


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_repeated_samples_leave_gradients_finite(measure):
    rows = _normal(6, 3)
    new = torch.cat([rows, rows]).requires_grad_()
    measure([new, _normal(12, 2)], [rows, _normal(6, 2)])[0, 1].backward()
    assert torch.isfinite(new.grad).all()
