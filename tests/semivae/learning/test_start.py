"""A training starts with latents as wide as the prior, whatever the encoder's first features are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from revoxel.core.checkpoints import save_tensors
from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.learning.start import standardise_latents, start_at_components
from semivae_cohort import truth
from tiny_semivae import ARGUMENTS, tiny_network


class Scans(list):
    """A bank in memory."""


def scans(n: int = 12) -> Scans:
    batch = truth(n)
    return Scans({name: value[row] for name, value in batch.items()} for row in range(n))


def test_every_mean_gets_mean_0_and_variance_1_over_the_training_scans() -> None:
    network, bank = tiny_network(), scans()
    before = encode_scans(network, network.partition, DataLoader(bank, batch_size=4)).mu
    standardise_latents(network, bank)
    after = encode_scans(network, network.partition, DataLoader(bank, batch_size=4))
    assert before.std(axis=0).max() < 0.9
    assert np.allclose(after.mu.mean(axis=0), 0, atol=1e-3)
    assert np.allclose(after.mu.std(axis=0), 1, atol=1e-2)


def test_variances_and_other_starts_stay(tmp_path: Path) -> None:
    network, bank = tiny_network(), scans()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    logvar = encode_scans(network, network.partition, DataLoader(bank, batch_size=4)).logvar
    standardise_latents(network, bank, start_from=tmp_path / "other.pt")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    standardise_latents(network, bank)
    again = encode_scans(network, network.partition, DataLoader(bank, batch_size=4)).logvar
    assert np.allclose(logvar, again)


def heads(folder: Path, n: int = 16) -> SimpleNamespace:
    """Cubes that differ along two smooth images, each with a bright tumour of its own."""
    generator = torch.Generator().manual_seed(4)
    along = torch.linspace(-1, 1, 32)
    waves = torch.stack(
        (along.view(1, 32, 1) * torch.ones(32, 32, 32), (3 * along).cos() * torch.ones(32, 32, 32))
    )
    files = []
    for number in range(n):
        scores = torch.randn(2, 4, generator=generator)
        image = 0.2 * torch.einsum("mc,mxyz->cxyz", scores, waves)
        tumour = torch.zeros(32, 32, 32)
        corner = torch.randint(4, 24, (3,), generator=generator).tolist()
        tumour[tuple(slice(start, start + 4) for start in corner)] = 1.0
        kept = {
            "image": image + 6 * tumour,
            "tumour": (255 * tumour).byte(),
            "brain": torch.ones_like(tumour).byte(),
        }
        save_tensors({**kept, "available": torch.ones(4, dtype=torch.bool)}, folder / f"{number}.pt")
        files.append(SimpleNamespace(path=folder / f"{number}.pt"))
    return SimpleNamespace(files=files)


def with_modes(n_modes: int) -> dict:
    return {"decoder": ARGUMENTS["decoder"] | {"template": True, "template_modes": n_modes}}


def test_components_of_heads_are_known_before_the_first_step_and_hold_no_tumour(tmp_path: Path) -> None:
    network, bank = tiny_network(**with_modes(4)).eval(), heads(tmp_path)
    start_at_components(network, bank)
    images = torch.stack([torch.load(file.path, weights_only=True)["image"] for file in bank.files])
    healthy = images.amax(dim=1, keepdim=True) < 3
    with torch.no_grad():
        mu, _ = network.encode(images)
        usual = network.decode(mu.mean(dim=0, keepdim=True))
        found, without = (
            (guess - images)[healthy.expand_as(images)].square().mean()
            for guess in (network.decode(mu), usual)
        )
    assert found < 0.5 * without
    assert network.decoder.modes.abs().max() < 0.1


def test_components_need_more_heads_than_modes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="template_modes must be fewer than heads with all pulses"):
        start_at_components(tiny_network(**with_modes(4)), heads(tmp_path, 2))
