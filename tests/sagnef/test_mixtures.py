import math

import pytest
import torch

from laws import assert_expert_order_ignored
from revoxel.sagnef.mixtures import (
    dominant_expert,
    mean_of_experts,
    median_of_experts,
    mix_experts,
    spread_of_experts,
    weight_entropy,
)

EXPERTS = torch.rand(2, 4, 3, 4, 5, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.softmax(torch.randn(2, 4, 3, 4, 5, generator=torch.Generator().manual_seed(1)), dim=1)


def test_mixture_ignores_expert_order():
    assert_expert_order_ignored(mix_experts, EXPERTS, WEIGHTS)


def test_uniform_weights_give_the_mean():
    torch.testing.assert_close(mix_experts(EXPERTS, torch.full_like(EXPERTS, 0.25)), mean_of_experts(EXPERTS))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        mix_experts(EXPERTS, WEIGHTS[:, 1:])


@pytest.mark.parametrize(("values", "median"), [((1.0, 9.0, 2.0), 2.0), ((1.0, 9.0, 2.0, 4.0), 3.0)])
def test_median_of_odd_and_even_counts(values, median):
    experts = torch.tensor(values)[None, :, None, None, None]
    assert median_of_experts(experts).item() == median


def test_spread_is_largest_minus_smallest():
    experts = torch.tensor([1.0, -2.0, 5.0])[None, :, None, None, None]
    assert spread_of_experts(experts).item() == 7


def test_dominant_expert_has_the_largest_weight_and_ties_go_to_the_first():
    weights = torch.tensor([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]]).reshape(1, 2, 3).permute(0, 2, 1)
    assert dominant_expert(weights[..., None, None]).flatten().tolist() == [1, 0]


def test_entropy_runs_from_zero_to_the_logarithm_of_the_count():
    one_rules = torch.tensor([1.0, 0.0, 0.0, 0.0])[None, :, None, None, None].requires_grad_()
    entropy = weight_entropy(one_rules)
    entropy.sum().backward()
    assert entropy.item() == 0
    assert torch.isfinite(one_rules.grad).all()
    all_share = torch.full((1, 4, 1, 1, 1), 0.25)
    assert weight_entropy(all_share).item() == pytest.approx(math.log(4))
