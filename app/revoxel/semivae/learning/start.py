"""Where a training starts: latents that differ between scans as much as the prior says.

Pooled features of heads that lie on one another hardly differ at first, so a mean drawn from them differs by
a fraction of the posterior's width: noise for the decoder, which learns to pass it over. So the last layer is
rescaled: every mean has mean 0 and variance 1 over the training scans (Salimans and Kingma, NeurIPS 2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, Subset

from revoxel.semivae.diagnosis.encoding import BATCH_SIZE, encode_scans

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.semivae.learning.bank import ScanBank
    from revoxel.semivae.network.semivae import SemiVAE

_MOST_SCANS = 128
_LEAST_SPREAD = 1e-4


def standardise_latents(network: SemiVAE, bank: ScanBank, start_from: str | Path | None = None) -> None:
    """Give every posterior mean mean 0 and variance 1 over some training scans.

    Args:
        network: As it starts; the rows of the last layers that give the means are changed.
        bank: Scans of the training.
        start_from: Other weights that the run starts from; they stay as they are.
    """
    if start_from is not None:
        return
    some = Subset(bank, range(min(len(bank), _MOST_SCANS)))
    mu = encode_scans(network, network.partition, DataLoader(some, batch_size=BATCH_SIZE)).mu
    like = next(network.parameters())
    centre, spread = (torch.as_tensor(row).to(like) for row in (mu.mean(axis=0), mu.std(axis=0)))
    spread = spread.clamp_min(_LEAST_SPREAD)
    with torch.no_grad():
        for name, where in network.partition.slices.items():
            last = network.posterior_head(name).linear
            rows = slice(0, where.stop - where.start)
            last.weight[rows] /= spread[where, None]
            last.bias[rows] = (last.bias[rows] - centre[where]) / spread[where]
