"""Networks: every switch gives four maps, amplitude is kept, any size works, the start is the fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from asl_image import network_image
from revoxel.asl.network.channels import PLANES, AslChannels, Plane
from revoxel.asl.network.models import build_network
from revoxel.asl.network.networks import AmplitudeAwareSpatialASLNet, SpatialASLNet
from revoxel.asl.network.voxel_network import VoxelASLNet

SMALL = (8, 16)
MAPS = {"cbf", "att", "cbf_sd", "att_sd"}


def _stirred(network: torch.nn.Module) -> torch.nn.Module:
    """Weights that are not the start: heads begin at zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def test_channels_are_split_as_they_were_stacked() -> None:
    channels = AslChannels(3)
    planes = {name: torch.full((2, 1, 4, 5), float(index)) for index, name in enumerate(PLANES)}
    signals, again = channels.split(channels.stack(torch.rand(2, 3, 4, 5), planes))
    assert signals.shape == (2, 3, 4, 5)
    assert all(torch.equal(again[name], planes[name]) for name in PLANES)
    with pytest.raises(ValueError, match=r"image must be \(batch, 13"):
        channels.split(torch.rand(2, 12, 4, 5))
    with pytest.raises(ValueError, match="3 signals and every plane"):
        channels.stack(torch.rand(2, 2, 4, 5), planes)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"amplitude": "film"},
        {"amplitude": "film", "film_at": ["bottleneck"]},
        {"amplitude": "modulation"},
        {"amplitude": "film+modulation", "residual_on_fit": False, "normalization": "per_curve"},
        {"amplitude": "none", "residual_on_fit": False},
        {"residual_on_fit": False},
        {"film_att": True},
        {"heads": "split_heads"},
        {"heads": "split_decoder", "norm": "group", "dropout": 0.2},
        {"heads": "att_attention"},
        {"multiscale": True},
        {"condition_on_physics": True},
        {"predict_logvar": False, "pooling": 0},
        {"in_channels": 0},
    ],
    ids=str,
)
def test_every_switch_gives_finite_maps_and_every_weight_a_gradient(arguments: dict[str, Any]) -> None:
    arguments = {"in_channels": 4, "features": SMALL, **arguments}
    network = build_network("AmplitudeAwareSpatialASLNet", arguments)
    image = network_image(arguments["in_channels"])
    # Two steps: layers behind a head that starts at zero have a gradient from the second one on.
    optimizer = torch.optim.SGD(network.parameters(), 1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        maps = network(image)
        inside = (network_image() * 1)[:, -1:] > 0
        sum((maps[name] * inside).mean() / 100 for name in maps).backward()
        optimizer.step()
    assert set(maps) == MAPS
    assert all(values.shape == (2, 1, 20, 17) and values.isfinite().all() for values in maps.values())
    idle = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert idle == []


def test_untrained_residual_network_gives_nearly_the_fit() -> None:
    image = network_image()
    _, planes = AslChannels(4).split(image)
    maps = AmplitudeAwareSpatialASLNet(4, SMALL, pooling=0).eval()(image)
    assert torch.equal(maps["cbf"], planes[Plane.fit_cbf])
    assert torch.equal(maps["att"], planes[Plane.fit_att])
    assert torch.equal(maps["att_sd"], planes[Plane.fit_att_sd])


@pytest.mark.parametrize("residual", [True, False])
def test_twice_the_signal_is_twice_the_cbf_and_the_same_att(residual: bool) -> None:
    network = _stirred(AmplitudeAwareSpatialASLNet(4, SMALL, residual_on_fit=residual))
    one, two = network(network_image()), network(network_image(scale=2.0))
    for name in ("cbf", "cbf_sd"):
        torch.testing.assert_close(two[name], 2 * one[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(two["att"], one["att"], rtol=1e-4, atol=1e-2)


def test_per_curve_normalisation_loses_the_amplitude() -> None:
    network = _stirred(SpatialASLNet(4, SMALL, normalization="per_curve"))
    torch.testing.assert_close(
        network(network_image())["cbf"], network(network_image(scale=2.0))["cbf"], rtol=1e-3, atol=1e-2
    )


def test_voxel_network_sees_one_voxel_at_a_time() -> None:
    network = _stirred(VoxelASLNet(4))
    image = network_image()
    corner = network(image[..., 5:6, 5:6])
    torch.testing.assert_close(corner["cbf"], network(image)["cbf"][..., 5:6, 5:6])


def test_pooling_takes_nothing_from_outside_the_brain() -> None:
    network = _stirred(AmplitudeAwareSpatialASLNet(0, SMALL))
    image = network_image(0)
    spoilt = image.clone()
    channel = PLANES.index(Plane.fit_att)
    spoilt[:, channel, :2] = 1e6
    pooled = network.pooling
    assert pooled is not None
    features = [torch.rand(2, 8, 20, 17)]
    inside = image[:, PLANES.index(Plane.fit_att_sd), None] > 0
    for one, other in zip(
        pooled(features, (image[:, channel, None],) * 2, inside),
        pooled(features, (spoilt[:, channel, None],) * 2, inside),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("UNet", {}, "model must be one of"),
        ("SpatialASLNet", {"in_channels": 4, "wdith": 3}, "arguments of SpatialASLNet"),
        ("SpatialASLNet", {"in_channels": 4, "norm": "batch"}, "norm None or group"),
        ("SpatialASLNet", {"in_channels": 4, "features": [6, 12], "norm": "group"}, "multiples of 8"),
        ("SpatialASLNet", {"in_channels": 4, "heads": "three"}, "heads must be one of"),
        ("AmplitudeAwareSpatialASLNet", {"in_channels": 4, "amplitude": "loud"}, "amplitude must be one of"),
        ("AmplitudeAwareSpatialASLNet", {"in_channels": 0, "amplitude": "film"}, "in_channels must be >= 1"),
        ("AmplitudeAwareSpatialASLNet", {"in_channels": 4, "pooling": 4}, "odd number"),
        (
            "AmplitudeAwareSpatialASLNet",
            {"in_channels": 4, "predict_logvar": False, "residual_on_fit": False},
            "predict_logvar must be on",
        ),
        ("VoxelASLNet", {"in_channels": 4, "features": ["median"]}, "features must be among"),
    ],
)
def test_wrong_switches_are_refused(model: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(model, arguments)


def test_wrong_images_and_normalisations_are_refused() -> None:
    network = SpatialASLNet(4, SMALL)
    with pytest.raises(ValueError, match="image must be"):
        network(torch.rand(1, 4, 32, 32))
    with pytest.raises(ValueError, match=">= 16 pixels"):
        network(network_image(size=(12, 32)))
    with pytest.raises(ValueError, match="normalization must be"):
        SpatialASLNet(4, SMALL, normalization="loud")(network_image())  # type: ignore[arg-type]
