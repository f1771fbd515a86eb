"""Discrepancy from the prior: samples of the prior have none, samples pulled to 0 have."""

from __future__ import annotations

import pytest
import torch

from laws import assert_gradient
from revoxel.semivae.objective.mmd import AggregateMMD, discrepancy
from semivae_naive import density_naive

N_LATENTS = 32


def _samples(n: int = 256, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, N_LATENTS, generator=torch.Generator().manual_seed(seed))


def test_samples_of_the_prior_are_at_no_distance_on_average():
    torch.manual_seed(0)
    values = torch.stack([AggregateMMD()(_samples(16, seed)) for seed in range(60)])
    assert abs(values.mean()) < 4 * values.std() / 60**0.5
    assert values.min() < 0


@pytest.mark.parametrize(
    "change", [lambda z: 0.5 * z, lambda z: 1.5 * z, lambda z: z + 0.5, lambda z: z[:, :1].expand_as(z)]
)
def test_shrunken_spread_shifted_and_repeated_latents_are_far(change):
    prior = discrepancy(_samples(), _samples(seed=1))
    assert discrepancy(change(_samples()), _samples(seed=1)) > 10 * prior.abs()


def test_density_pulls_to_zero_where_the_discrepancy_pushes_back():
    shell = (0.7 * _samples()).requires_grad_()
    torch.manual_seed(0)
    for loss, sign in ((density_naive, 1), (AggregateMMD(), -1)):
        (gradient,) = torch.autograd.grad(loss(shell), shell)
        # Positive along z: descent shrinks the latents.
        assert sign * (gradient * shell).sum() > 0


@pytest.mark.reference
def test_discrepancy_is_the_unbiased_statistic():
    first, second = _samples(5).double(), _samples(7, seed=1).double()

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        widths = [2 * N_LATENTS * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
        square = float(((x - y) ** 2).sum())
        return sum(width / (width + square) for width in widths) / len(widths)

    within = [
        sum(kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j)
        / (len(x) * (len(x) - 1))
        for x in (first, second)
    ]
    between = sum(kernel(a, b) for a in first for b in second) / 35
    assert float(discrepancy(first, second)) == pytest.approx(sum(within) - 2 * between)


def test_gradient_is_that_of_finite_differences():
    assert_gradient(lambda z: discrepancy(z, _samples(8, 1).double()), _samples(5).double().requires_grad_())


def test_half_precision_is_computed_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert AggregateMMD()(_samples(8).bfloat16()).dtype == torch.float32


def test_single_sample_is_refused():
    with pytest.raises(ValueError, match="at least 2 samples"):
        AggregateMMD()(_samples(1))
