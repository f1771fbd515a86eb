"""The upsampler: sizes, what it is before training, consistency whatever the weights, traps of its parts."""

import pytest
import torch

from revoxel.ct.consistency import block_mean, upsample_trilinear
from revoxel.ct.upsampler.histospline import upsample_histospline
from revoxel.ct.upsampler.network import ResidualUpsampler3D
from revoxel.ct.upsampler.parts import subpixel

SMALL = {"channels": (8,), "blocks": (1,), "head": "coarse"}


def n_weights(network):
    return sum(part.numel() for part in network.parameters())


def trained_by_chance(**arguments):
    torch.manual_seed(0)
    network = ResidualUpsampler3D(**arguments)
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.1)
    return network.eval()


def test_full_network_has_two_million_weights():
    assert 2.0e6 <= n_weights(ResidualUpsampler3D()) <= 2.2e6


def test_coarse_head_has_little_more_than_half_a_million():
    assert 0.57e6 <= n_weights(ResidualUpsampler3D(head="coarse")) <= 0.59e6


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("head", ["progressive", "coarse"])
def test_grid_is_finer_by_the_factor(factor, head):
    x = torch.rand(2, 1, 4, 5, 6)
    network = ResidualUpsampler3D(factor, head=head)
    result = network.eval()(x)
    assert set(result) == {"pred"}
    assert result["pred"].shape == (2, 1, 4 * factor, 5 * factor, 6 * factor)
    between = network.train()(x).get("x2")
    assert (between is None) if factor == 2 else between.shape == (2, 1, 8, 10, 12)


@pytest.mark.parametrize(
    ("consistency", "expected"), [(True, upsample_histospline), (False, upsample_trilinear)]
)
def test_before_training_it_is_the_interpolation(consistency, expected):
    x = torch.rand(1, 1, 5, 5, 5)
    pred = ResidualUpsampler3D(consistency=consistency)(x)["pred"]
    assert torch.equal(pred, expected(x, 4))


@pytest.mark.parametrize("head", ["progressive", "coarse"])
def test_block_means_are_kept_whatever_the_weights(head):
    x = torch.rand(1, 1, 5, 4, 6)
    pred = trained_by_chance(head=head)(x)["pred"]
    assert float((pred - upsample_histospline(x, 4)).std().detach()) > 0.01
    assert torch.allclose(block_mean(pred, 4), x, atol=1e-4)


def test_source_form_corrects_freely_and_little():
    x = torch.rand(1, 1, 4, 4, 4)
    network = trained_by_chance(norm="instance", consistency=False, correction_scale=0.1)
    free = network(x)["pred"] - upsample_trilinear(x, 4)
    network.correction_scale = 1.0
    assert torch.allclose(10 * free, network(x)["pred"] - upsample_trilinear(x, 4), atol=1e-4)
    assert float(block_mean(free, 4).abs().max()) > 1e-3


def test_subpixel_convolution_starts_without_checkerboard_and_shift():
    # ICNR: the 2^3 sub-voxels of a voxel are equal; MONAI's bias or padded pooling would break it.
    up = subpixel(3, 2, 2)
    fine = up(torch.rand(1, 3, 4, 4, 4))
    blocks = fine.unflatten(2, (4, 2)).unflatten(4, (4, 2)).unflatten(6, (4, 2))
    assert float(blocks.std(dim=(3, 5, 7)).max()) < 1e-6


def test_centroid_of_a_ball_stays():
    axis = torch.arange(12.0) - 5.3
    distance = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2).sqrt()
    ball = torch.sigmoid(3 * (3.5 - distance))[None, None]

    def centroid(volume, spacing):
        centres = (torch.arange(float(volume.shape[2])) + 0.5) * spacing
        return float((volume.sum((0, 1, 3, 4)) * centres).sum() / volume.sum())

    fine = ResidualUpsampler3D(**SMALL).eval()(ball)["pred"]
    # In coarse voxels; 0.025 of them are 0.1 fine ones.
    assert abs(centroid(fine, 0.25) - centroid(ball, 1.0)) < 0.025


def test_gradients_reach_every_weight_after_one_step():
    network = ResidualUpsampler3D(**SMALL, attention=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    x, label = torch.rand(1, 1, 4, 4, 4), torch.rand(1, 1, 16, 16, 16)
    for _ in range(2):
        optimizer.zero_grad()
        (network(x)["pred"] - label).square().mean().backward()
        optimizer.step()
    assert all(float(part.grad.abs().max()) > 0 for part in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 3}, "factor must be 2 or 4"),
        ({"head": "fine"}, "head one of"),
        ({"channels": (8, 4)}, "must have 3 entries"),
        ({"norm": "batch"}, "norm must be one of"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualUpsampler3D(**arguments)


def test_small_or_coloured_volumes_are_refused():
    network = ResidualUpsampler3D(**SMALL)
    for shape in ((1, 1, 3, 8, 8), (1, 2, 8, 8, 8)):
        with pytest.raises(ValueError, match="sides of at least 4"):
            network(torch.zeros(shape))
