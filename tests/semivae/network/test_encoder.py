from dataclasses import replace

import pytest
import torch
from torch import nn

from revoxel.semivae.network.encoder import EncoderSettings, LayoutGroupNorm, ResEncoder3D

SMALL = EncoderSettings((4, 4, 8, 8), (1, 1, 1, 1), 2)
ALL = torch.ones(2, 4)


def encoder(**change) -> ResEncoder3D:
    torch.manual_seed(0)
    return ResEncoder3D(4, replace(SMALL, **change))


def images() -> torch.Tensor:
    return torch.randn(2, 4, 32, 32, 32, generator=torch.Generator().manual_seed(1))


def gradients(network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    sum(one.square().sum() for one in network(image, ALL).values()).backward()
    return [weight.grad for name, weight in network.named_parameters() if not name.startswith("availability")]


def test_each_stage_halves_the_side():
    shapes = {stride: tuple(one.shape[1:]) for stride, one in encoder()(images(), ALL).items()}
    assert shapes == {2: (4, 16, 16, 16), 4: (4, 8, 8, 8), 8: (8, 4, 4, 4), 16: (8, 2, 2, 2)}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_group_norm_is_that_of_torch_in_either_layout(layout):
    ours, theirs = LayoutGroupNorm(2, 4), nn.GroupNorm(2, 4)
    maps = torch.randn(2, 4, 3, 5, 7).contiguous(memory_format=layout).requires_grad_()
    same = maps.detach().clone().requires_grad_()
    normalised = ours(maps)
    assert normalised.is_contiguous(memory_format=layout)
    torch.testing.assert_close(normalised, theirs(same))
    normalised.square().sum().backward()
    theirs(same).square().sum().backward()
    torch.testing.assert_close(maps.grad, same.grad)


def test_checkpointing_changes_neither_maps_nor_gradients():
    kept, again = gradients(encoder(), images()), gradients(encoder(checkpointing=True), images())
    for one, other in zip(kept, again, strict=True):
        torch.testing.assert_close(one, other)


def test_checkpointing_keeps_fewer_maps():
    def kept(**change) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            encoder(**change)(images(), ALL)
        return sum(sizes)

    assert kept(checkpointing=True) < 0.7 * kept()


def test_grouped_stem_looks_at_each_pulse_by_itself():
    stem = encoder(stem="grouped").stem
    image = images()
    changed = image.clone()
    changed[:, 2] += 1
    moved = (stem(image) != stem(changed)).any(dim=(0, 2, 3, 4))
    assert moved.tolist() == [False, False, True, False]


def test_spectral_norm_bounds_every_convolution():
    network = encoder(spectral_norm=True).train()
    for _ in range(30):
        network(images(), ALL)
    for module in network.eval().modules():
        if isinstance(module, nn.Conv3d):
            largest = torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)
            assert float(largest) == pytest.approx(1, abs=0.05)


def test_availability_starts_as_nothing_and_enters_as_a_vector():
    network = encoder()
    some = torch.tensor([[1.0, 0, 1, 1]] * 2)
    assert torch.equal(network(images(), ALL)[16], network(images(), some)[16])
    nn.init.normal_(network.availability.weight)
    assert not torch.equal(network(images(), ALL)[16], network(images(), some)[16])


def test_half_precision_gradients_are_those_of_full_precision():
    # Of maps of 2^3 torch 2.13 gives bfloat16 gradients of chance on a processor, up to infinity.
    network, half = encoder(), encoder()
    full = gradients(network, images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(half, images())
    for one, other in zip(full, found, strict=True):
        assert (one - other).norm() < 0.1 * one.norm()
