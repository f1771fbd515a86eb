"""A training starts with latents as wide as the prior, whatever the encoder's first features are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.learning.start import standardise_latents
from semivae_cohort import truth
from tiny_semivae import tiny_network


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
