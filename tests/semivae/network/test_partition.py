import pytest
import torch

from revoxel.semivae.network.partition import (
    PARTITIONS,
    LatentPartition,
    Part,
    as_partition,
    preset_partition,
)


@pytest.mark.parametrize(
    ("name", "sizes"), [("seed", [16, 12, 24, 76]), ("run6", [24, 8, 12, 84]), ("r1", [32, 96])]
)
def test_presets_have_the_sizes_of_their_runs(name, sizes):
    partition = preset_partition(name)
    assert [part.size for part in partition.parts] == sizes
    assert partition.z_dim == 128


def test_parts_lie_side_by_side_and_split_gives_them_back():
    partition = preset_partition("seed")
    z = torch.arange(128.0)[None]
    parts = partition.split(z)
    assert torch.equal(torch.cat(list(parts.values()), dim=1), z)
    assert parts["shape"].flatten()[0] == 28


def test_targets_are_in_the_order_of_the_parts():
    partition = preset_partition("seed")
    assert partition.features[partition.feature_slices["loc"]] == partition["loc"].features
    assert partition.presence[partition.presence_slices["vol"]] == ("ncr", "ed", "et")
    assert [part.name for part in partition.supervised] == ["vol", "loc", "shape"]


@pytest.mark.parametrize("name", PARTITIONS)
def test_plain_values_give_the_partition_back(name):
    partition = preset_partition(name)
    assert LatentPartition.from_dict(partition.to_dict()) == partition == as_partition(partition.to_dict())


def changed(**change) -> dict:
    values = preset_partition("seed").to_dict()
    values["parts"][1] |= change
    return values


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (changed(start=15), "overlap"),
        (changed(start=17), "gap"),
        (changed(size=12) | {"z_dim": 130}, "sum to z_dim 130"),
        (changed(features=[]), "features unless it is 'residual'"),
        (changed(features=["wt.log_volume"]), "each feature"),
        (changed(presence=["ncr"]), "each presence"),
        (changed(name="vol"), "each part"),
        (changed(size=0), "size of at least 1"),
        (changed(width=3), "partition must hold parts"),
        ({"parts": []}, "must have a part"),
        ({}, "partition must hold parts"),
    ],
)
def test_impossible_partitions_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        LatentPartition.from_dict(values)


def test_residual_has_no_features():
    with pytest.raises(ValueError, match="residual"):
        Part("residual", 4, ("wt.log_volume",))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="seed, run6, r1"):
        preset_partition("run7")
    with pytest.raises(ValueError, match="vol, loc, shape, residual"):
        preset_partition("seed")["volume"]
    with pytest.raises(ValueError, match="z must have 128"):
        preset_partition("seed").split(torch.zeros(2, 127))
