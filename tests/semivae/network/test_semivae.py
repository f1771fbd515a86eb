import pytest
import torch

from revoxel.semivae.network.semivae import SemiVAE
from revoxel.semivae.network.sizes import size_preset


@pytest.fixture(scope="module")
def network() -> SemiVAE:
    torch.manual_seed(0)
    return SemiVAE(**size_preset("phantom32")).eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(3, 4, 32, 32, 32, generator=torch.Generator().manual_seed(1))


def test_forward_gives_every_shape_that_it_states(network, image):
    output = network(image)
    assert output["recon"].shape == image.shape
    assert output["mu"].shape == output["logvar"].shape == output["z"].shape == (3, 128)
    assert {name: tuple(one.shape) for name, one in output["predictions"].items()} == {
        "vol": (3, 4),
        "loc": (3, 3),
        "shape": (3, 8),
    }
    assert output["presence"]["vol"].shape == (3, 3)
    assert set(output["attention"]) == set(network.partition.names)
    assert {"prior", "auxiliary_recon", "intervention"}.isdisjoint(output)
