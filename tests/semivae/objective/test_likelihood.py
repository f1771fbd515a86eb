"""Likelihood: nats of known decoders, a scale found from the data, weights that never change the balance."""

from __future__ import annotations

import math

import pytest
import torch

from laws import assert_gradient
from revoxel.semivae.objective.likelihood import CalibratedGaussianNLL, voxel_weights

SHAPE = (2, 3, 4, 5, 6)


def _image(scale: float = 1.0) -> torch.Tensor:
    image = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    return scale * image * torch.tensor([0.5, 1.0, 2.0])[None, :, None, None, None]


def _channel_mean(image: torch.Tensor) -> torch.Tensor:
    return image.mean((0, 2, 3, 4), keepdim=True).expand_as(image)


@pytest.mark.reference
def test_decoder_of_the_channel_mean_scores_half_plus_half_log_variance():
    image = _image()
    # Mean over c of E[(x - m)^2] / (2 s^2) + ln(s^2) / 2 with s^2 = E[(x - m)^2].
    variance = image.transpose(0, 1).flatten(1).var(dim=1, correction=0)
    expected = 0.5 + 0.5 * variance.log().mean()
    weighted, plain = CalibratedGaussianNLL(3)(_channel_mean(image), image)
    torch.testing.assert_close(weighted, expected)
    torch.testing.assert_close(plain, expected)


def test_images_ten_times_brighter_add_log_ten_and_leave_gradients_of_relative_errors():
    likelihood, brighter = CalibratedGaussianNLL(3), CalibratedGaussianNLL(3)
    error = 0.1 * _image(0.3).flip(0)
    losses, gradients = [], []
    for module, scale in ((likelihood, 1.0), (brighter, 10.0)):
        relative = error.clone().requires_grad_()
        loss, _ = module(scale * (_image() + relative), scale * _image())
        gradients.append(torch.autograd.grad(loss, relative)[0])
        losses.append(loss)
    torch.testing.assert_close(losses[1], losses[0] + math.log(10))
    torch.testing.assert_close(gradients[1], gradients[0])


def test_residuals_are_one_deviation_on_average_whatever_the_weights():
    image = _image()
    tumour = torch.zeros(2, 1, 4, 5, 6)
    tumour[..., :2] = 1
    weights = voxel_weights(tumour, torch.ones_like(tumour))
    likelihood = CalibratedGaussianNLL(3)
    weighted, plain = likelihood(torch.where(tumour > 0, image + 3, image + 1), image, weights)
    log_half = 0.5 * likelihood.variance.log().mean()
    torch.testing.assert_close(weighted, 0.5 + log_half)
    assert plain < weighted


def test_loss_does_not_grow_with_the_size_of_the_tumour():
    image = torch.zeros(1, 1, 8, 8, 8)
    likelihood = CalibratedGaussianNLL(1).eval()
    likelihood.n_updates += 1
    losses = []
    for side in (2, 6):
        tumour = torch.zeros_like(image)
        tumour[..., :side] = 1
        losses.append(likelihood(image + 1, image, voxel_weights(tumour, torch.ones_like(image)))[0])
    torch.testing.assert_close(losses[0], losses[1])


def test_voxels_and_channels_of_weight_zero_change_nothing():
    image, recon = _image(), _image().flip(0)
    weight = torch.ones(SHAPE)
    weight[:, 1] = 0
    weight[..., 0] = 0
    spoiled = torch.where(weight > 0, recon, 1e3)
    clean, other = CalibratedGaussianNLL(3), CalibratedGaussianNLL(3)
    torch.testing.assert_close(clean(recon, image, weight)[0], other(spoiled, image, weight)[0])
    assert other.variance[1] == 1


def test_variance_follows_training_only_and_stays_above_its_floor():
    image = _image()
    likelihood = CalibratedGaussianNLL(3, floor=0.01)
    likelihood(image, image)
    assert torch.equal(likelihood.variance, torch.full((3,), 0.01))
    kept = likelihood.variance.clone()
    with torch.no_grad():
        likelihood(image + 1, image)
    likelihood.eval()(image + 1, image)
    assert torch.equal(likelihood.variance, kept)
    likelihood.train()(image + 1, image)
    assert (likelihood.variance > kept).all()


def test_variance_forgets_as_slowly_as_it_is_told():
    likelihood = CalibratedGaussianNLL(1, ema=0.9)
    image = torch.zeros(1, 1, 2, 2, 2)
    for _ in range(200):
        likelihood(image + 1, image)
    likelihood(image + 2, image)
    torch.testing.assert_close(likelihood.variance, torch.tensor([0.9 * 1 + 0.1 * 4]))


def test_state_continues_a_training():
    first, second = CalibratedGaussianNLL(3), CalibratedGaussianNLL(3)
    first(_image().flip(0), _image())
    second.load_state_dict(first.state_dict())
    pair = (_image().flip(-1), _image())
    assert torch.equal(first(*pair)[0], second(*pair)[0])


def test_untrained_likelihood_is_calibrated_on_what_it_is_shown():
    image = _image(5.0)
    weighted, _ = CalibratedGaussianNLL(3).eval()(_channel_mean(image), image)
    trained, _ = CalibratedGaussianNLL(3)(_channel_mean(image), image)
    torch.testing.assert_close(weighted, trained)


def test_gradient_is_that_of_finite_differences():
    likelihood = CalibratedGaussianNLL(2).eval()
    likelihood.variance.copy_(torch.tensor([0.3, 2.0]))
    likelihood.n_updates += 1
    image, weight = torch.randn(2, 2, 2, 2, 2).double(), torch.rand(2, 1, 2, 2, 2).double()
    recon = torch.randn_like(image).requires_grad_()
    assert_gradient(lambda x: likelihood(x, image, weight)[0], recon)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(half):
    image, recon = _image().to(half), _image().flip(0).to(half)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = CalibratedGaussianNLL(3)(recon, image)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, CalibratedGaussianNLL(3)(recon.float(), image.float())[0])


def test_air_weighs_between_nothing_and_brain():
    brain = torch.tensor([0.0, 0.5, 1.0, 1.0])
    tumour = torch.tensor([0.0, 0.0, 0.5, 1.0])
    weights = voxel_weights(tumour, brain, air_weight=0.2)
    torch.testing.assert_close(weights, torch.tensor([0.2, 0.6, 3.0, 5.0]))
    torch.testing.assert_close(voxel_weights(None, brain, air_weight=0.2), torch.tensor([0.2, 0.6, 1.0, 1.0]))


@pytest.mark.parametrize("settings", [{"ema": 1.0}, {"floor": 0.0}, {"channels": 0}])
def test_impossible_likelihood_is_refused(settings):
    with pytest.raises(ValueError, match="likelihood must have"):
        CalibratedGaussianNLL(**{"channels": 4, **settings})


@pytest.mark.parametrize("weights", [{"air_weight": 1.5}, {"tumour_weight": 0.0}])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="air_weight must be"):
        voxel_weights(None, torch.ones(1), **weights)


def test_wrong_channels_are_refused():
    with pytest.raises(ValueError, match="one shape with 4 channels"):
        CalibratedGaussianNLL(4)(_image(), _image())
