"""The detail network begins as the identity, knows geometry, and refuses what does not fit."""

import pytest
import torch

from revoxel.ct.consistency import block_mean, face_gradient_ratio
from revoxel.ct.detail.lifting import XrayScene, lift_views, view_evidence
from revoxel.ct.detail.network import DetailRefiner3D, architecture, build_refiner, keep_low_frequencies
from revoxel.ct.xray.geometry import XrayGeometry
from revoxel.ct.xray.projector import project_views

SCENE = XrayScene((3.0, 3.0, 3.0), XrayGeometry(size=8))
TINY = {"hidden": 4, "blocks": 1, "lift_channels": 2, "bands": 3}


def n_weights(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def awake(**arguments) -> DetailRefiner3D:
    """A network whose last layer is not zero."""
    torch.manual_seed(0)
    network = DetailRefiner3D(**(TINY | arguments), scene=SCENE).eval()
    torch.nn.init.normal_(network.tail.weight, std=0.5)
    return network


@pytest.fixture
def coarse() -> torch.Tensor:
    return torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def views(coarse) -> torch.Tensor:
    return project_views(SCENE.window.restore(coarse), SCENE.spacing_mm, SCENE.geometry)


def test_sizes_are_those_of_the_specification():
    assert 4.5e6 <= n_weights(DetailRefiner3D()) <= 5.6e6
    small = build_refiner(architecture("small", {}, "none"), SCENE)
    assert n_weights(small) <= 1.2e6
    assert 4 * n_weights(small) < 5e6


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("consistency", ["none", "lowpass4"])
def test_untrained_network_returns_the_coarse_volume(coarse, views, fold, consistency):
    network = DetailRefiner3D(**TINY, fold=fold, consistency=consistency, scene=SCENE)
    torch.testing.assert_close(network(coarse, views), coarse, atol=1e-6, rtol=0)


def test_batch_equals_singles_and_sides_may_be_odd_and_unequal(coarse, views):
    network = awake()
    both = network(coarse, views)
    torch.testing.assert_close(both[1:], network(coarse[1:], views[1:]), atol=1e-5, rtol=1e-4)
    assert network(torch.rand(1, 1, 5, 7, 6)).shape == (1, 1, 5, 7, 6)


def test_absent_views_zeros_and_none_are_the_same(coarse, views):
    network = awake()
    torch.testing.assert_close(network(coarse, torch.zeros_like(views)), network(coarse))
    assert not torch.allclose(network(coarse, views + 1), network(coarse), atol=1e-3)
    one = views.clone()
    one[:, 1] = 0
    assert torch.isfinite(network(coarse, one)).all()


def test_lowpass4_keeps_block_means_without_blocks(coarse):
    network = awake(consistency="lowpass4")
    refined = network(coarse)
    assert not torch.allclose(refined, coarse, atol=1e-3)
    torch.testing.assert_close(block_mean(refined), block_mean(coarse), atol=1e-5, rtol=0)
    smooth = torch.linspace(0, 1, 16)[:, None, None].expand(1, 1, 16, 16, 16)
    kept = keep_low_frequencies(torch.zeros_like(smooth), smooth)
    # Nearest-neighbour projection has no step inside its blocks at all.
    assert face_gradient_ratio(kept[..., 4:-4, :, :]) < 1.6


def test_evidence_is_what_the_coarse_volume_leaves_unexplained(coarse, views):
    assert view_evidence(coarse, views, SCENE)[:, :, 1].abs().max() < 1e-4
    more = coarse.clone()
    more[0, 0, 2, 5, 3] += 0.2
    evidence = view_evidence(
        coarse, project_views(SCENE.window.restore(more), (3.0,) * 3, SCENE.geometry), SCENE
    )
    # One voxel's change, as a sum along the ray in normalised values; row 0 is superior, column 0 the right.
    assert evidence[0, 0, 1, 7 - 3, 7 - 2] == pytest.approx(0.2, rel=1e-3)
    assert evidence[0, 1, 1, 7 - 3, 7 - 5] == pytest.approx(0.2, rel=1e-3)
    assert evidence[1, :, 1].abs().max() < 1e-4


def test_parallel_features_are_spread_along_y_and_x():
    features = torch.rand(1, 2, 3, 8, 8)
    lifted = lift_views(features, (8, 8, 8), SCENE)
    frontal, lateral = lifted.split(3, dim=1)
    torch.testing.assert_close(frontal, frontal[:, :, :, :1].expand_as(frontal))
    torch.testing.assert_close(lateral, lateral[:, :, :1].expand_as(lateral))
    torch.testing.assert_close(frontal[0, :, 2, 0, 3], features[0, 0, :, 7 - 3, 7 - 2])


def test_cone_features_are_sampled_where_voxels_are_projected():
    geometry = XrayGeometry("cone", 100.0, 120.0, pixel_mm=1.0, size=64)
    scene = XrayScene((3.0, 3.0, 3.0), geometry)
    columns = -(torch.arange(64.0) - 31.5)
    features = columns.expand(1, 2, 1, 64, 64)
    lifted = lift_views(features, (8, 8, 8), scene)
    x_mm, y_mm = 3 * 2.5, 3 * (1 - 3.5)
    # The source of the frontal view is at y = -100: magnification 120 / (100 + y).
    assert lifted[0, 0, 6, 1, 4] == pytest.approx(x_mm * 120 / (100 + y_mm), abs=0.02)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 2, 1, 8, 8), "one pair per volume"),
        ((2, 3, 1, 8, 8), r"must be \(B, 2, 1"),
        ((2, 2, 1, 9, 9), "8 x 8"),
    ],
)
def test_views_that_do_not_fit_are_refused(coarse, shape, said):
    with pytest.raises(ValueError, match=said):
        awake()(coarse, torch.rand(shape))


def test_impossible_networks_and_volumes_are_refused(coarse):
    with pytest.raises(ValueError, match="views must be 2"):
        DetailRefiner3D(views=3)
    with pytest.raises(ValueError, match="consistency must be one of none, lowpass4"):
        DetailRefiner3D(**TINY, consistency="nearest")
    with pytest.raises(ValueError, match="divisible by 2"):
        awake(fold=2)(torch.rand(1, 1, 7, 8, 8))
    with pytest.raises(ValueError, match="divisible by 4"):
        awake(consistency="lowpass4")(torch.rand(1, 1, 6, 8, 8))
    with pytest.raises(ValueError, match=r"must be \(B, 1, X, Y, Z\)"):
        awake()(coarse[0])
    with pytest.raises(ValueError, match="preset must be one of full, small"):
        architecture("huge", {}, "none")
    with pytest.raises(ValueError, match="arguments of DetailRefiner3D"):
        build_refiner({"depth": 3}, SCENE)


def test_scene_survives_a_checkpoint_and_a_broken_one_is_refused():
    scene = XrayScene((1.0, 2.0, 3.0), XrayGeometry("cone", pixel_mm=0.5, size=16))
    assert XrayScene.from_mapping(scene.as_dict()) == scene
    with pytest.raises(ValueError, match="scene must hold spacing_mm, geometry and window"):
        XrayScene.from_mapping({"spacing_mm": [1, 1, 1]})
