import pytest
import torch
from torch import nn

from revoxel.semivae.network.semivae import SemiVAE
from revoxel.semivae.network.sizes import size_preset
from tiny_semivae import ARGUMENTS, PARTITION, tiny_images, tiny_network


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return tiny_images()


def with_decoder(**change) -> dict:
    return {"decoder": ARGUMENTS["decoder"] | change}


def with_encoder(**change) -> dict:
    return {"encoder": ARGUMENTS["encoder"] | change}


def gradient_of(loss: torch.Tensor, network: nn.Module) -> float:
    network.zero_grad()
    loss.backward()
    return sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None)


def test_forward_gives_every_shape_that_it_states(images):
    network = SemiVAE(**size_preset("phantom32")).eval()
    output = network(images)
    assert output["recon"].shape == images.shape
    assert output["mu"].shape == output["logvar"].shape == output["z"].shape == (3, 128)
    shapes = {name: tuple(one.shape) for name, one in output["predictions"].items()}
    assert shapes == {"vol": (3, 4), "loc": (3, 3), "shape": (3, 8)}
    assert {name: tuple(one.shape) for name, one in output["presence"].items()} == {"vol": (3, 3)}
    assert set(output["attention"]) == set(network.partition.names)
    assert {"prior", "auxiliary_recon", "intervention"}.isdisjoint(output)


@pytest.mark.parametrize("partition", ["seed", "run6", "r1"])
def test_every_preset_partition_makes_a_network(partition):
    with torch.device("meta"):
        network = SemiVAE(**size_preset("phantom32") | {"partition": partition})
    assert network.partition.z_dim == 128


def test_full_network_has_the_size_of_the_project_it_follows():
    with torch.device("meta"):
        network = SemiVAE(**size_preset("full128"))
    encoder, decoder = (
        sum(p.numel() for p in one.parameters()) for one in (network.encoder, network.decoder)
    )
    assert encoder == pytest.approx(8.36e6, rel=0.02)
    assert decoder == pytest.approx(1.21e6, rel=0.01)
    output = network(torch.empty(1, 4, 128, 128, 128, device="meta"))
    assert output["recon"].shape == (1, 4, 128, 128, 128)
    assert output["attention"]["loc"].shape == (1, 4, 16, 16, 16)


def test_sizes_are_known_by_name_and_free_to_change():
    size_preset("full96")["encoder"]["norm_groups"] = 1
    with torch.device("meta"):
        network = SemiVAE(**size_preset("full96"))
    assert network.encoder.settings.norm_groups == 8
    assert network.decoder.grid == 6
    with pytest.raises(ValueError, match="size must be one of full128, full96, phantom32"):
        size_preset("full64")


def test_start_is_near_the_mean_image_and_sure_of_its_latents():
    torch.manual_seed(0)
    network = SemiVAE(**size_preset("phantom32"))
    output = network.train()(tiny_images(8))
    assert output["recon"].std() < 0.2
    sd = (0.5 * output["logvar"]).exp()
    torch.testing.assert_close(sd, torch.full_like(sd, 0.2231), atol=1e-3, rtol=0)
    assert 0.2 < output["mu"].pow(2).mean().sqrt() < 1.5


def test_z_is_drawn_in_training_and_the_mean_in_evaluation(images):
    network = tiny_network()
    output = network.train()(images)
    sd = (0.5 * output["logvar"]).exp()
    assert 0.6 < ((output["z"] - output["mu"]) / sd).std() < 1.4
    output = network.eval()(images)
    assert torch.equal(output["z"], output["mu"])
    assert torch.equal(network.decode(output["mu"]), output["recon"])
    mu, logvar = network.encode(images)
    assert torch.equal(mu, output["mu"])
    assert torch.equal(logvar, output["logvar"])


def test_each_image_is_encoded_by_itself(images):
    network = tiny_network().eval()
    alone = torch.cat([network(one)["recon"] for one in images.split(1)])
    torch.testing.assert_close(network(images)["recon"], alone, atol=1e-5, rtol=1e-4)


def test_every_weight_learns(images):
    network = tiny_network(hierarchy="chain", **with_decoder(auxiliary_residual=True)).train()
    nn.init.ones_(network.encoder.availability.weight)
    output = network(images, torch.ones(3, 4, dtype=torch.bool), intervene="vol")
    prior = output["prior"]
    terms = [output["recon"], output["auxiliary_recon"], output["z"], prior["mu"], prior["logvar"]]
    terms += [*output["predictions"].values(), *output["presence"].values(), output["logvar"]]
    sum(one.square().sum() for one in terms).backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None]


def test_log_variance_stays_in_its_range_and_keeps_a_gradient_there(images):
    network = tiny_network()
    for head in network.pool.heads.values():
        head.start_at(8.0)
    logvar = network.encode(images)[1]
    assert logvar.max() < 2
    assert logvar.min() > 1.99
    assert gradient_of(logvar.sum(), network) > 0


def test_features_are_read_from_means_of_their_part_alone(images):
    network = tiny_network().eval()
    mu = network.encode(images)[0].detach().requires_grad_()
    network.predict(mu)["loc"].sum().backward()
    moved = {name for name, one in PARTITION.split(mu.grad).items() if one.abs().sum() > 0}
    assert moved == {"loc"}


def test_availability_tells_a_missing_pulse_from_an_empty_one(images):
    network = tiny_network().eval()
    nn.init.normal_(network.encoder.availability.weight)
    missing = torch.tensor([[True, True, False, True]]).expand(3, 4)
    assert torch.equal(network.encode(images)[0], network.encode(images, torch.ones(3, 4))[0])
    assert not torch.allclose(network.encode(images)[0], network.encode(images, missing)[0])


def test_intervention_passes_one_part_on_and_encodes_the_decoded_image(images):
    network = tiny_network().eval()
    output = network(images, intervene="vol")
    told = output["intervention"]
    given, mu = PARTITION.split(told["mu_given"]), PARTITION.split(output["mu"])
    assert told["part"] == "vol"
    assert torch.equal(given["vol"], mu["vol"].roll(1, dims=0))
    assert all(torch.equal(given[name], mu[name]) for name in ("loc", "shape", "residual"))
    assert torch.equal(told["mu_found"], network.encode(network.decode(told["mu_given"]))[0])
    with pytest.raises(ValueError, match="part must be one of vol"):
        network(images, intervene="volume")


def test_intervention_reaches_encoder_and_decoder(images):
    network = tiny_network().train()
    found = network(images, intervene="loc")["intervention"]["mu_found"]
    assert gradient_of(found.square().sum(), network.decoder) > 0
    found = network(images, intervene="loc")["intervention"]["mu_found"]
    assert gradient_of(found.square().sum(), network.encoder) > 0


@pytest.mark.parametrize("hierarchy", [None, "chain"])
def test_isolation_keeps_the_numbers_and_spares_the_encoder(images, hierarchy):
    free = tiny_network(hierarchy=hierarchy)
    isolated = tiny_network(hierarchy=hierarchy, gradient_isolation=True)
    isolated.load_state_dict(free.state_dict())
    outputs = []
    for network in (free, isolated):
        torch.manual_seed(3)
        outputs.append(network.train()(images)["predictions"])
    torch.testing.assert_close(*outputs)
    losses = [sum(one.square().sum() for one in output.values()) for output in outputs]
    assert gradient_of(losses[0], free.encoder) > 0
    losses[1].backward()
    assert all(weight.grad is None for weight in isolated.encoder.parameters())
    assert all(weight.grad is not None for weight in isolated.pool.heads["vol"].parameters())


def test_residual_carries_the_scores_of_its_modes(images):
    network = tiny_network(**with_decoder(template=True, template_modes=2)).eval()
    where = network.partition.slices["residual"]
    with torch.no_grad():
        network.decoder.modes.zero_()
        without, _ = network.encode(images)
        torch.nn.init.normal_(network.decoder.modes, std=0.01)
        found, _ = network.encode(images)
        scores = network.decoder.scores(images, torch.ones(len(images), 4))
    torch.testing.assert_close(
        found[:, where][:, :2] - without[:, where][:, :2], scores, atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(found[:, where][:, 2:], without[:, where][:, 2:])
    assert scores.abs().max() > 0.01


def test_means_do_not_drift_from_the_prior(images):
    network = tiny_network().train()
    with torch.no_grad():
        for part in network.partition.names:
            network.posterior_head(part).linear.bias += 5.0
        first = network(images)["mu"].mean()
        for _ in range(300):
            last = network(images)["mu"].mean()
    assert first > 4
    assert abs(last) < 0.1
    still = network.eval()(images)["mu"]
    torch.testing.assert_close(network(images)["mu"], still)


def test_more_modes_than_the_residual_holds_are_refused():
    with pytest.raises(ValueError, match="template_modes must be at most the size of the part 'residual'"):
        tiny_network(**with_decoder(template=True, template_modes=999))


def test_residual_part_reads_the_other_encoder(images):
    outside = nn.Sequential(nn.Flatten(), nn.Linear(4 * 32**3, 6))
    network = SemiVAE(**ARGUMENTS, residual_encoder=outside).eval()
    mu = network.encode(images)[0]
    nn.init.zeros_(outside[1].weight)
    changed = PARTITION.split(network.encode(images)[0])
    own = PARTITION.split(mu)
    assert torch.equal(changed["vol"], own["vol"])
    assert not torch.equal(changed["residual"], own["residual"])
    assert "residual" not in network(images)["attention"]


def test_residual_encoder_may_be_a_plain_function_but_must_give_vectors(images):
    network = SemiVAE(**ARGUMENTS, residual_encoder=lambda image: image.mean(dim=(2, 3, 4)))
    assert network(images)["recon"].shape == images.shape
    with pytest.raises(ValueError, match=r"residual_encoder must give \(B, feature\)"):
        SemiVAE(**ARGUMENTS, residual_encoder=lambda image: image)


def test_residual_encoder_needs_a_residual_part():
    partition = {"parts": [{"name": "vol", "size": 4, "features": ["wt.log_volume"]}]}
    with pytest.raises(ValueError, match="part 'residual' for residual_encoder"):
        SemiVAE(**ARGUMENTS | {"partition": partition}, residual_encoder=lambda image: image)


def test_auxiliary_image_comes_from_the_residual_alone(images):
    network = tiny_network(**with_decoder(auxiliary_residual=True)).eval()
    output = network(images)
    assert output["auxiliary_recon"].shape == (3, 4, 16, 16, 16)
    mu = output["mu"].detach().requires_grad_()
    network.auxiliary_decoder(PARTITION.split(mu)["residual"]).sum().backward()
    moved = {name for name, one in PARTITION.split(mu.grad).items() if one.abs().sum() > 0}
    assert moved == {"residual"}


def test_half_precision_gives_full_precision_outputs(images):
    network = tiny_network(hierarchy="chain", gradient_isolation=True).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(images, intervene="vol")
    tensors = [output[name] for name in ("recon", "mu", "logvar", "z")]
    tensors += [*output["predictions"].values(), *output["presence"].values(), *output["prior"].values()]
    assert {one.dtype for one in tensors} == {torch.float32}


@pytest.mark.parametrize("size", [16, 40, 0])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="multiple of 16 from 32 on"):
        SemiVAE(size)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32, 32), (1, 4, 32, 32, 48), (4, 32, 32, 32)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"image must be \(B, 4, 32, 32, 32\), pulses t1c, t1n, t2f, t2w"):
        tiny_network()(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_voxels_that_are_no_numbers_are_refused(images, value):
    bad = images.clone()
    bad[0, 0, 3, 3, 3] = value
    with pytest.raises(ValueError, match="image must be finite"):
        tiny_network().eval().encode(bad)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"logvar_range": (-2, 2)}, "logvar_range"),
        ({"logvar_range": (-6,)}, "logvar_range"),
        ({"encoder": {"width": 3}}, "EncoderSettings must be made of its arguments"),
        ({"pooling": {"strides": [8]}}, "PoolSettings must be made of its arguments"),
        (with_encoder(channels=3), "EncoderSettings must be made of its arguments"),
        ({"hierarchy": ["vol"]}, "hierarchy must be 'chain', parents by part or null"),
        ({"head": "cubic"}, "kind must be one of linear"),
        ({"partition": "seeds"}, "seed, run6, r1"),
        (with_encoder(stem="split"), "stem"),
        (with_encoder(channels=[6, 8, 8, 8], stem="grouped"), "multiple of 4"),
        (with_encoder(norm_groups=3), "norm_groups must divide"),
        (with_encoder(blocks=[1, 1, 1]), "four positive numbers"),
        (with_encoder(spectral_norm=True, checkpointing=True), "must not go together"),
        (with_decoder(grid=8), "log2"),
        (with_decoder(channels=[8]), "one more than doublings"),
        (with_decoder(last="half"), "last must be one of"),
        ({"pooling": {"kind": "max"}}, "kind must be one of"),
        ({"pooling": {"strides": {"loc": [32]}}}, "strides must be among"),
        ({"pooling": {"strides": {name: [8] for name in PARTITION.names}}}, "a part must see stride 16"),
    ],
)
def test_impossible_networks_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        SemiVAE(**ARGUMENTS | change)


def test_availability_of_another_shape_is_refused(images):
    with pytest.raises(ValueError, match="available must be"):
        tiny_network()(images, torch.ones(3, 3))
