import pytest
import torch

from revoxel.semivae.network.decoder import (
    AroundTemplate,
    DecoderSettings,
    SpatialBroadcastDecoder3D,
    build_auxiliary_decoder,
    build_decoder,
)


@pytest.mark.parametrize("last", ["full", "subpixel"])
@pytest.mark.parametrize(
    ("side", "grid", "n_doublings"),
    [(32, None, 3), (48, None, 3), (64, None, 4), (96, 12, 3)],
)
def test_doublings_are_the_logarithm_of_size_over_grid(side, grid, n_doublings, last):
    settings = DecoderSettings(grid, (4,) * (n_doublings + 1), last)
    with torch.device("meta"):
        decoder = build_decoder(5, side, 4, settings)
    assert decoder.grid * 2**n_doublings == side
    assert len(decoder.blocks) == n_doublings - (last == "subpixel")
    assert decoder(torch.empty(2, 5, device="meta")).shape == (2, 4, side, side, side)


def test_broadcast_is_a_convolution_of_the_repeated_latent_and_the_places():
    decoder = SpatialBroadcastDecoder3D(3, 4, (5, 4), 1)
    z = torch.randn(2, 3)
    axis = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    latent = z[..., None, None, None].expand(2, 3, 4, 4, 4)
    repeated = torch.cat((latent, places.expand(2, -1, -1, -1, -1)), 1)
    weight = torch.cat((decoder.latent.weight, decoder.place.weight), dim=1)[..., None, None, None]
    expected = torch.conv3d(repeated, weight, decoder.latent.bias).relu()
    torch.testing.assert_close(decoder._broadcast(z), expected)


def test_output_has_no_bound():
    decoder = SpatialBroadcastDecoder3D(3, 4, (8, 4), 1)
    assert decoder(1000 * torch.randn(2, 3)).abs().max() > 3


@pytest.mark.parametrize("last", ["full", "subpixel"])
def test_features_keep_their_variance_and_the_image_starts_small(last):
    torch.manual_seed(0)
    decoder = SpatialBroadcastDecoder3D(128, 4, (64, 32, 16, 8), 4, last)
    image = decoder(torch.randn(16, 128))
    assert 0.01 < image.std() < 0.2
    assert image.std(dim=0).mean() > 0.003


def test_a_decoder_of_each_pulse_shares_no_weight():
    decoder = build_decoder(3, 32, 4, DecoderSettings(channels=(4, 4, 4, 4), per_modality=True))
    decoder(torch.randn(1, 3))[:, 2].sum().backward()
    moved = [any(p.grad is not None and p.grad.any() for p in one.parameters()) for one in decoder.decoders]
    assert moved == [False, False, True, False]


def test_template_is_what_the_latent_differs_from():
    decoder = build_decoder(3, 32, 4, DecoderSettings(channels=(4, 4, 4, 4), template=True))
    assert isinstance(decoder, AroundTemplate)
    z, image = torch.randn(1, 3), torch.randn(4, 32, 32, 32)
    before = decoder(z)
    with torch.no_grad():
        decoder.template.copy_(image[None])
    torch.testing.assert_close(decoder(z), before + image)
    assert decoder.to(memory_format=torch.channels_last_3d)(z).shape == (1, 4, 32, 32, 32)


def test_modes_add_what_is_linear_in_the_latent():
    settings = DecoderSettings(channels=(4, 4, 4, 4), template=True, template_modes=2)
    decoder = build_decoder(3, 32, 4, settings)
    torch.nn.init.zeros_(decoder.decoder.output.weight)
    torch.nn.init.zeros_(decoder.amplitudes.bias)
    torch.nn.init.normal_(decoder.modes)
    z = torch.randn(2, 3)
    assert decoder(z).shape == (2, 4, 32, 32, 32)
    torch.testing.assert_close(decoder(3 * z), 3 * decoder(z), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        decoder.template.fill_(2.0)
    torch.testing.assert_close(decoder(torch.zeros(1, 3)), torch.full((1, 4, 32, 32, 32), 2.0))


def test_modes_are_a_linear_autoencoder_from_the_start():
    decoder = build_decoder(4, 32, 4, DecoderSettings(channels=(4, 4, 4, 4), template=True, template_modes=2))
    flat, _ = torch.linalg.qr(torch.randn(4 * 16**3, 2))
    modes, spread = flat.T.reshape(2, 4, 16, 16, 16), torch.tensor([5.0, 3.0])
    decoder.start_at(torch.randn(4, 32, 32, 32), modes, spread, first=1)
    wanted = torch.tensor([[1.0, -0.5], [0.2, 2.0]])
    coarse = torch.einsum("bm,mcxyz->bcxyz", wanted * spread, modes)
    image = decoder.template + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    there = torch.ones(2, 4)
    torch.testing.assert_close(decoder.scores(image, there), wanted, atol=1e-4, rtol=1e-4)
    z = torch.zeros(2, 4)
    z[:, 1:3] = wanted
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="trilinear")
    noise = (decoder(z) - decoder.template - smooth).square().mean()
    assert noise < 0.05 * smooth.square().mean() + 1e-4


def test_missing_pulse_counts_as_the_template_and_a_tumour_cannot_rule_a_score():
    decoder = build_decoder(3, 32, 4, DecoderSettings(channels=(4, 4, 4, 4), template=True, template_modes=2))
    torch.nn.init.normal_(decoder.modes)
    image = torch.zeros(1, 4, 32, 32, 32)
    there = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    image[:, 1] = 7.0
    assert not decoder.scores(image, there).any()
    bright = torch.zeros(1, 4, 32, 32, 32)
    bright[..., 8:12, 8:12, 8:12] = 1.0
    torch.testing.assert_close(
        decoder.scores(50 * bright, torch.ones(1, 4)), decoder.scores(bright, torch.ones(1, 4))
    )


def test_template_without_modes_has_no_weight_that_never_learns():
    decoder = build_decoder(3, 32, 4, DecoderSettings(channels=(4, 4, 4, 4), template=True))
    decoder(torch.randn(1, 3)).square().sum().backward()
    assert all(weight.grad is not None for weight in decoder.parameters())


def test_modes_need_a_template():
    with pytest.raises(ValueError, match="template_modes must be 0 without a template"):
        DecoderSettings(template_modes=3)


def test_auxiliary_decoder_ends_at_half_resolution():
    settings = DecoderSettings(channels=(4, 4, 4, 4), last="subpixel")
    assert build_auxiliary_decoder(3, 32, 4, settings)(torch.randn(1, 3)).shape == (1, 4, 16, 16, 16)
    with pytest.raises(ValueError, match="3 numbers for an auxiliary decoder"):
        build_auxiliary_decoder(3, 32, 4, DecoderSettings(grid=16, channels=(4, 4)))
