import pytest
import torch

from revoxel.semivae.network.hierarchy import ConditionalPriors, parents_of
from revoxel.semivae.network.partition import preset_partition

SEED = preset_partition("seed")


def latents() -> dict[str, torch.Tensor]:
    return SEED.split(torch.randn(2, 128, generator=torch.Generator().manual_seed(0)))


def test_chain_makes_every_part_depend_on_those_before():
    assert parents_of("chain", SEED) == {
        "loc": ("vol",),
        "shape": ("vol", "loc"),
        "residual": ("vol", "loc", "shape"),
    }
    assert parents_of(None, SEED) == {}


@pytest.mark.parametrize(
    ("hierarchy", "match"),
    [
        ({"vol": ["shape"]}, "among the parts before"),
        ({"loc": []}, "among the parts before"),
        ({"loc": ["loc"]}, "among the parts before"),
        ({"place": ["vol"]}, "part must be one of"),
        ("tree", "hierarchy must be 'chain'"),
    ],
)
def test_impossible_hierarchies_are_refused(hierarchy, match):
    with pytest.raises(ValueError, match=match):
        parents_of(hierarchy, SEED)


def test_hierarchy_starts_as_none():
    priors = ConditionalPriors(parents_of("chain", SEED), SEED)
    prior = priors.prior(latents())
    assert prior["mu"].shape == prior["logvar"].shape == (2, 128)
    assert not prior["mu"].any()
    assert not prior["logvar"].any()
    assert not priors.shift("shape", latents()).any()
    assert priors.shift("vol", latents()) == 0


def test_prior_of_a_part_follows_its_parents_alone():
    priors = ConditionalPriors({"shape": ["vol"]}, SEED)
    for layer in priors.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight)
    z = torch.cat(list(latents().values()), dim=1).requires_grad_()
    prior = priors.prior(SEED.split(z))
    moved = [name for name, one in SEED.split(prior["mu"]).items() if one.any()]
    assert moved == ["shape"]
    prior["mu"].sum().backward()
    assert [name for name, one in SEED.split(z.grad).items() if one.any()] == ["vol"]


def test_spread_of_a_prior_is_bounded():
    priors = ConditionalPriors({"shape": ["vol"]}, SEED)
    torch.nn.init.constant_(priors.priors["shape"][-1].bias, 1e3)
    assert priors.prior(latents())["logvar"].max() <= 4
