"""The residual part sees where in the head something differs; other parts see what they saw."""

import torch

from revoxel.semivae.network.pooling import PoolSettings, Regional
from tiny_semivae import tiny_images, tiny_network


def test_regions_tell_places_apart_that_a_mean_does_not():
    network = tiny_network(pooling={"strides": {"residual": [8, 16]}, "kind": "gap", "regions": 2})
    pools = network.pool.pools
    assert [key for key, pool in pools.items() if isinstance(pool, Regional)] == ["residual_8", "residual_16"]
    maps = torch.zeros(2, 8, 4, 4, 4)
    maps[0, :, 0, 0, 0], maps[1, :, 3, 3, 3] = 1.0, 1.0
    pooled, attention = pools["residual_8"](maps)
    mean, regional = pooled.split((8, 64), dim=1)
    assert attention is None
    assert torch.equal(mean[0], mean[1])
    assert not torch.equal(regional[0], regional[1])


def test_no_region_is_asked_for_by_default():
    assert PoolSettings().regions == 0
    network = tiny_network(pooling={"strides": {"residual": [8, 16]}, "regions": 2})
    assert network(tiny_images(2))["attention"]["residual"].shape[1] == 4
