import numpy as np
import pytest
import torch

from revoxel.core.checkpoints import save_weights
from revoxel.semivae.network.bundle_network import SemiVaeBundleNet
from revoxel.semivae.network.models import build_network, load_model, patients_digest, semivae_protocol
from tiny_semivae import (
    ARGUMENTS,
    GRID,
    PARTITION,
    PATIENTS,
    tiny_checkpoint,
    tiny_images,
    tiny_network,
    tiny_normalizer,
    tiny_protocol,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_checkpoint(tmp_path_factory.mktemp("run") / "model.pt"))


def test_loaded_network_computes_what_the_saved_one_did(model):
    images = tiny_images()
    assert torch.equal(model.network(images)["recon"], tiny_network().eval()(images)["recon"])
    assert model.grid == GRID
    assert model.partition == PARTITION
    assert model.record["training"] == {"patients_sha256": patients_digest(reversed(PATIENTS))}
    np.testing.assert_array_equal(model.bank.covariance, np.eye(PARTITION.z_dim))


def test_features_are_in_physical_units(model):
    mu, _ = model.network.encode(tiny_images(1))
    predicted = torch.cat(list(model.network.predict(mu).values()), dim=1)[0]
    values = model.features_of(mu[0].detach())
    assert tuple(values) == PARTITION.features
    targets, _ = model.normalizer.transform(values)
    np.testing.assert_allclose(targets, predicted.detach(), atol=1e-5)


@pytest.mark.parametrize("head", ["linear", "grouped", "mlp"])
@pytest.mark.parametrize("residualize", [{}, {"wt.sphericity": "wt.log_volume"}])
def test_spread_is_that_of_draws_from_the_posterior(tmp_path, head, residualize):
    change = {"head": head}
    if head == "grouped":
        change["partition"] = PARTITION.to_dict()
    protocol = semivae_protocol(ARGUMENTS | change, GRID, tiny_normalizer(residualize=residualize))
    model = load_model(save_weights(tmp_path / "m.pt", tiny_network(**change).state_dict(), protocol))
    # So narrow that an mlp is straight within it.
    mu, logvar = torch.linspace(-1, 1, PARTITION.z_dim), torch.linspace(-14, -12, PARTITION.z_dim)
    found = model.estimates_of(mu, logvar)
    noise = torch.randn(4000, PARTITION.z_dim, generator=torch.Generator().manual_seed(2))
    drawn = torch.cat(list(model.network.predict(mu + noise * (0.5 * logvar).exp()).values()), dim=1)
    values = [model.normalizer.inverse_transform(row) for row in drawn.detach().double().numpy()]
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(model.features_of(mu)[name])
        assert estimate.sd == pytest.approx(np.std([row[name] for row in values]), rel=0.06)


def test_presence_is_a_chance_by_region(model):
    chances = model.presence_of(torch.zeros(PARTITION.z_dim))
    assert list(chances) == ["et"]
    assert 0 < chances["et"] < 1


def test_facts_name_the_weights_without_their_bulk(model):
    facts = model.facts()
    assert facts["weights"] == "model.pt"
    assert facts["grid"] == {"voxel_mm": 6.0, "size": 32}
    assert {"normalizer", "bank"}.isdisjoint(facts)


def test_latent_of_another_length_is_refused(model):
    with pytest.raises(ValueError, match=r"mu must be \(16,\)"):
        model.features_of(torch.zeros(15))


def test_weights_of_another_system_are_refused_with_both_names(tmp_path):
    path = save_weights(tmp_path / "m.pt", {}, tiny_protocol() | {"system": "asl", "model": "VoxelASLNet"})
    with pytest.raises(ValueError, match=r"wanted 'semivae', got 'asl'.*wanted 'SemiVAE', got 'VoxelASLNet'"):
        load_model(path)


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = save_weights(tmp_path / "m.pt", tiny_network(head="mlp").state_dict(), tiny_protocol())
    with pytest.raises(ValueError, match="weights must fit SemiVAE"):
        load_model(path)


def test_weights_that_cannot_tell_units_are_refused(tmp_path):
    path = save_weights(tmp_path / "m.pt", tiny_network().state_dict(), semivae_protocol(ARGUMENTS, GRID))
    with pytest.raises(ValueError, match=r"protocol must say.*normalizer"):
        load_model(path)


def test_normalizer_of_other_features_is_refused():
    with pytest.raises(ValueError, match="partition's features"):
        semivae_protocol(ARGUMENTS, GRID, tiny_normalizer(PARTITION.features[:-1]))


def test_cube_of_another_size_is_refused():
    with pytest.raises(ValueError, match="network's size 32, got 64"):
        semivae_protocol(ARGUMENTS, {"voxel_mm": 6.0, "size": 64})


def test_protocol_names_a_preset_by_its_parts():
    named = semivae_protocol({"partition": "r1"}, {"voxel_mm": 1.875, "size": 128})
    assert [part["size"] for part in named["arguments"]["partition"]["parts"]] == [32, 96]
    assert {"normalizer", "training", "bank"}.isdisjoint(named)


def test_unknown_argument_is_refused():
    with pytest.raises(ValueError, match="arguments of SemiVAE"):
        build_network({"depth": 3})


def test_missing_bundle_is_named():
    with pytest.raises(FileNotFoundError, match="semivae_none"):
        load_model("semivae_none")


def test_bundle_network_gives_the_mean_and_sees_missing_pulses(model):
    adapter = SemiVaeBundleNet(ARGUMENTS).eval()
    adapter.load_state_dict(model.network.state_dict())
    torch.nn.init.ones_(adapter.core.encoder.availability.weight)
    images = tiny_images()
    images[1, 2] = 0
    available = torch.ones(3, 4, dtype=torch.bool)
    available[1, 2] = False
    assert torch.equal(adapter(images), adapter.core.encode(images, available)[0])
    assert set(adapter.state_dict()) == set(model.network.state_dict())


@pytest.mark.slow
def test_bundle_network_can_be_exported_for_batches_of_any_size():
    adapter = SemiVaeBundleNet(ARGUMENTS).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    exported = torch.export.export(adapter, (tiny_images(2),), dynamic_shapes=(batch,)).module()
    images = tiny_images(3)
    images[1, 2] = 0
    torch.testing.assert_close(exported(images), adapter(images))


def test_network_with_another_encoder_is_loaded_with_it(tmp_path):
    def outside() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AvgPool3d(16), torch.nn.Flatten(), torch.nn.Linear(32, 6))

    network = build_network(ARGUMENTS, outside()).eval()
    path = save_weights(tmp_path / "m.pt", network.state_dict(), tiny_protocol())
    loaded = load_model(path, residual_encoder=outside())
    assert torch.equal(loaded.network.encode(tiny_images())[0], network.encode(tiny_images())[0])
    with pytest.raises(ValueError, match="weights must fit SemiVAE"):
        load_model(path)
