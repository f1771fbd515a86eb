"""Tiled inference: the same as at once, in HU, with progress."""

import pytest
import torch

from revoxel.core.iterations import Precision
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.upsampler.inference import UpsampleOptions, upsample
from revoxel.ct.upsampler.network import ResidualUpsampler3D

WINDOW = HounsfieldWindow()
FLOAT32 = Precision("float32")


def network_of_chance(**arguments):
    torch.manual_seed(0)
    network = ResidualUpsampler3D(**arguments)
    for tail in network.tails:
        for part in tail.parameters():
            torch.nn.init.normal_(part, std=0.05)
    return network.eval()


def coarse_hu(*sides):
    return -300 + 300 * torch.randn((1, 1, *sides), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "arguments",
    [
        {"head": "coarse", "channels": (8,), "blocks": (1,)},
        {"channels": (8, 6, 4), "blocks": (1, 1, 1)},
        {"factor": 2, "channels": (8, 4), "blocks": (2, 1)},
    ],
)
def test_tiles_equal_the_whole_without_attention(arguments):
    network = network_of_chance(attention=False, **arguments)
    coarse = coarse_hu(7, 9, 22)
    whole, tiled = (
        upsample(network, coarse, window=WINDOW, options=UpsampleOptions(tile, False, FLOAT32))
        for tile in (64, 5)
    )
    assert float((whole - WINDOW.restore(network.base(WINDOW.normalise(coarse)))).abs().max()) > 10
    assert float((whole - tiled).abs().max()) < 0.01


def test_it_is_the_network_in_hu():
    network = network_of_chance(head="coarse", channels=(8,), blocks=(1,))
    coarse = coarse_hu(5, 6, 7)
    expected = WINDOW.restore(network(WINDOW.normalise(coarse))["pred"])
    found = upsample(network, coarse, window=WINDOW, options=UpsampleOptions(64, False, FLOAT32))
    assert torch.allclose(found, expected, atol=1e-2)


def test_mean_over_mirror_images_mirrors_with_its_input():
    network = network_of_chance(head="coarse", channels=(8,), blocks=(1,))
    coarse, options = coarse_hu(5, 6, 7), UpsampleOptions(64, True, FLOAT32)
    fine = upsample(network, coarse, window=WINDOW, options=options)
    mirrored = upsample(network, coarse.flip(3), window=WINDOW, options=options)
    assert torch.allclose(mirrored.flip(3), fine, atol=1e-2)
    plain = upsample(network, coarse, window=WINDOW, options=UpsampleOptions(64, False, FLOAT32))
    assert not torch.allclose(plain, fine, atol=1.0)


def test_bfloat16_is_near():
    network = network_of_chance(head="coarse", channels=(8,), blocks=(1,), attention=False)
    coarse = coarse_hu(6, 6, 6)
    exact, fast = (
        upsample(network, coarse, window=WINDOW, options=UpsampleOptions(precision=Precision(dtype)))
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < float((exact - fast).abs().mean()) < 5


def test_progress_reaches_one():
    shares = []
    network = network_of_chance(head="coarse", channels=(8,), blocks=(1,))
    upsample(network, coarse_hu(8, 4, 4), window=WINDOW, options=UpsampleOptions(4), progress=shares.append)
    assert shares == [0.5, 1.0]


def test_what_is_no_single_volume_or_tile_is_refused():
    network = network_of_chance(head="coarse", channels=(8,), blocks=(1,))
    with pytest.raises(ValueError, match="one volume at a time"):
        upsample(network, torch.zeros(2, 1, 4, 4, 4), window=WINDOW)
    with pytest.raises(ValueError, match="tile must be at least 1"):
        UpsampleOptions(tile=0)
