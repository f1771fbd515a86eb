import pytest
import torch

from revoxel.semivae.network.heads import SemanticHead
from revoxel.semivae.network.partition import Part

PART = Part("vol", 6, ("wt.log_volume", "et.log_volume"), ("et",))


@pytest.mark.parametrize("kind", ["linear", "grouped", "mlp"])
def test_every_kind_gives_features_and_presence(kind):
    head = SemanticHead(PART, kind)
    assert head(torch.zeros(3, 6)).shape == (3, 2)
    assert head.presence(torch.zeros(3, 6)).shape == (3, 1)


def test_grouped_head_gives_each_feature_numbers_of_its_own():
    head = SemanticHead(PART, "grouped")
    jacobian = torch.func.jacrev(lambda mu: head(mu[None])[0])(torch.randn(6))
    assert (jacobian != 0).tolist() == [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3]


def test_grouped_head_must_divide_evenly():
    with pytest.raises(ValueError, match="multiple of its 2 features"):
        SemanticHead(Part("vol", 5, PART.features), "grouped")


def test_part_asked_for_no_presence_gives_no_logit():
    assert SemanticHead(Part("vol", 4, PART.features)).presence(torch.zeros(3, 4)).shape == (3, 0)
