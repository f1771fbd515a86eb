import pytest
import torch

from revoxel.semivae.network.partition import Part
from revoxel.semivae.network.pooling import PartitionPool, PoolSettings, SpatialAttention, centres

PARTS = (Part("vol", 3, ("wt.log_volume",)), Part("loc", 2, ("wt.centroid_r_mm",)), Part("residual", 4))
CHANNELS = {2: 2, 4: 4, 8: 4, 16: 8}


def maps() -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {n: torch.randn(2, c, 32 // n, 32 // n, 32 // n, generator=generator) for n, c in CHANNELS.items()}


def test_centres_are_those_of_the_voxels_of_a_cube_from_minus_one_to_one():
    places = centres(torch.zeros(1, 1, 2, 4, 1)).reshape(2, 4, 1, 3)
    assert places[:, 0, 0, 0].tolist() == [-0.5, 0.5]
    assert places[0, :, 0, 1].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert places[0, 0, 0, 2] == 0


def test_sharp_attention_gives_the_place_of_what_it_looks_at():
    pool = SpatialAttention(1, 1)
    torch.nn.init.constant_(pool.logits.weight, 50.0)
    seen = torch.zeros(1, 1, 8, 8, 8)
    seen[0, 0, 1, 6, 3] = 2.0
    pooled, attention = pool(seen)
    # One map of one feature and three coordinates, then the plain mean.
    torch.testing.assert_close(pooled, torch.tensor([[2.0, -0.625, 0.625, -0.125, 2 / 512]]))
    torch.testing.assert_close(attention.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("kind", ["attention", "gap", "se"])
def test_every_kind_gives_every_posterior(kind):
    pool = PartitionPool(CHANNELS, PARTS, PoolSettings(kind, heads=2, strides={"loc": (4, 8)}))
    raw, attention = pool(maps())
    assert {name: tuple(one.shape) for name, one in raw.items()} == {
        "vol": (2, 6),
        "loc": (2, 4),
        "residual": (2, 8),
    }
    if kind != "attention":
        assert attention == {}
        return
    assert attention["loc"].shape == (2, 2, 8, 8, 8)
    for one in attention.values():
        torch.testing.assert_close(one.sum(dim=(2, 3, 4)), torch.ones(2, 2))


@pytest.mark.parametrize("kind", ["gap", "se"])
def test_pools_without_attention_know_no_place(kind):
    pool = PartitionPool(CHANNELS, PARTS, PoolSettings(kind))
    moved = {n: one.roll(1, dims=2) for n, one in maps().items()}
    torch.testing.assert_close(pool(maps())[0], pool(moved)[0])


def test_shared_maps_look_where_volume_looks():
    strides = {"vol": (8, 16), "loc": (4, 8)}
    pool = PartitionPool(CHANNELS, PARTS, PoolSettings(strides=strides, share_maps=True))
    assert pool.keys["loc"] == ("loc_4", "vol_8")
    own = PartitionPool(CHANNELS, PARTS, PoolSettings(strides=strides))
    assert own.keys["loc"] == ("loc_4", "loc_8")
    assert len(pool.pools) == len(own.pools) - 1
    assert set(pool(maps())[0]) == {"vol", "loc", "residual"}


def test_residual_never_shares_maps():
    pool = PartitionPool(CHANNELS, PARTS, PoolSettings(strides={}, share_maps=True))
    assert pool.keys["residual"] == ("residual_16",)
