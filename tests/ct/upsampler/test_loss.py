"""Loss of upsampling: parts by name, both presets, no perceptual part without a trained network."""

import pytest
import torch

from revoxel.core.ssim import mean_ssim
from revoxel.ct.learning.features import load_features
from revoxel.ct.upsampler.loss import UpsamplerLoss


def volumes(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 1, 12, 12, 12, generator=generator) for _ in range(2)]


def test_default_is_the_weighted_sum_of_its_parts():
    pred, label = volumes()
    loss = UpsamplerLoss()
    total = loss({"pred": pred}, label)
    last = loss.last
    expected = last["l1"] + 0.2 * last["ssim"] + 0.05 * last["edge"] + 0.5 * last["multiscale"]
    assert torch.allclose(total, expected)
    assert torch.allclose(last["l1"], (pred - label).abs().mean())
    assert torch.allclose(last["ssim"], 1 - mean_ssim(pred, label))
    assert {"coarse_psnr_db", "refined_psnr_db", "total"} <= set(last)


def test_seed_preset_has_the_weights_of_the_source():
    pred, label = volumes()
    loss = UpsamplerLoss({"perceptual": 0.0}, preset="seed")
    total = loss({"pred": pred}, label)
    last = loss.last
    expected = last["l1"] + 2 * last["ssim"] + 0.1 * last["edge"] + 0.5 * last["multiscale"]
    assert torch.allclose(total, expected)


def test_seed_preset_without_a_trained_network_is_an_error():
    with pytest.raises(ValueError, match=r"perceptual must be 0 without a trained network, got 0\.1"):
        UpsamplerLoss(preset="seed")


def test_truth_costs_nothing_and_psnr_says_so():
    label = volumes()[0]
    loss = UpsamplerLoss()
    assert float(loss({"pred": label.clone()}, label)) < 1e-5
    assert float(loss.last["refined_psnr_db"]) > float(loss.last["coarse_psnr_db"]) + 50


def test_edge_of_a_ramp_is_its_slope():
    # Normalised Sobel kernels answer a ramp of slope 0.1 with 0.1 along its axis, 0 along the others.
    ramp = (0.1 * torch.arange(12.0)).expand(1, 1, 12, 12, 12)
    loss = UpsamplerLoss({"l1": 0.0, "ssim": 0.0, "multiscale": 0.0, "edge": 1.0})
    inner = loss.sobel(ramp[:, 0])[:, 2:-2, 2:-2, 2:-2]
    assert sorted(round(float(part.mean()), 5) for part in inner) == [0.0, 0.0, 0.1]


def test_between_volume_is_supervised():
    pred, label = volumes()
    loss = UpsamplerLoss({"l1": 0.0, "ssim": 0.0, "edge": 0.0})
    wrong = loss({"pred": pred, "x2": torch.full((1, 1, 6, 6, 6), 9.0)}, label)
    assert float(wrong) > 1 > float(loss({"pred": pred}, label))


def test_a_part_that_is_not_finite_is_named():
    pred, label = volumes()
    pred[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="l1, ssim, edge, multiscale"):
        UpsamplerLoss()({"pred": pred}, label)


@pytest.mark.parametrize(("weights", "message"), [({"l3": 1.0}, "unknown"), ({"l1": -1.0}, ">= 0")])
def test_weights_that_make_no_sense_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        UpsamplerLoss(weights)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        UpsamplerLoss()({"pred": torch.zeros(1, 1, 8, 8, 8)}, torch.zeros(1, 1, 12, 12, 12))


def test_features_come_from_a_file_and_stay_frozen(tmp_path):
    network = torch.nn.Conv3d(1, 2, 3)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "w.pt")
    features = load_features(tmp_path / "w.pt", torch.nn.Conv3d(1, 2, 3))
    pred, label = volumes()
    loss = UpsamplerLoss({"perceptual": 1.0}, features=features)
    loss({"pred": pred.requires_grad_()}, label).backward()
    expected = (network(pred) - network(label)).abs().mean()
    assert torch.allclose(loss.last["perceptual"], expected)
    assert not any(part.requires_grad for part in loss.features.parameters())


def test_default_extractor_is_a_resnet_in_the_layout_of_medicalnet(tmp_path):
    from monai.networks.nets import ResNetFeatures

    network = ResNetFeatures("resnet10", pretrained=False, spatial_dims=3, in_channels=1)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    loss = UpsamplerLoss({"perceptual": 1.0}, features=load_features(tmp_path / "w.pt"))
    label = torch.rand(1, 1, 32, 32, 32)
    assert float(loss({"pred": label.clone()}, label)) < 1e-5


def test_features_without_a_file_or_of_another_network_are_errors(tmp_path):
    assert load_features(None) is None
    with pytest.raises(FileNotFoundError, match="perceptual_weights_path"):
        load_features(tmp_path / "none.pt")
    torch.save({"other": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="weights of Conv3d, got others"):
        load_features(tmp_path / "w.pt", torch.nn.Conv3d(1, 2, 3))
