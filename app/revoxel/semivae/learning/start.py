"""Where a training starts: at the principal components of heads, with latents as wide as the prior says.

The residual's linear modes, where the network has them, start as the principal components of the training
scans with their tumours blanked (the optimum of a linear VAE, Lucas et al., NeurIPS 2019), so that the
residual tells heads apart from the first step on.

Pooled features of heads that lie on one another hardly differ at first, so a mean drawn from them differs by
a fraction of the posterior's width: noise for the decoder, which learns to pass it over. So the last layer is
rescaled: every mean has mean 0 and variance 1 over the training scans (Salimans and Kingma, NeurIPS 2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from revoxel.semivae.diagnosis.encoding import BATCH_SIZE, encode_scans
from revoxel.semivae.learning.cubes import load_cube
from revoxel.semivae.network.decoder import AroundTemplate
from revoxel.semivae.network.partition import RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from revoxel.semivae.learning.bank import ScanBank
    from revoxel.semivae.network.semivae import SemiVAE

_MOST_SCANS = 128
_MOST_HEADS = 512
_TUMOUR_SHARE = 0.02
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


def start_at_components(network: SemiVAE, bank: ScanBank, start_from: str | Path | None = None) -> None:
    """Start template, modes and their scores at mean and principal components of the training scans.

    Heads are seen as they are and mirrored; a voxel of a tumour counts as one of the mean. Every score has
    variance 1 over the heads.

    Args:
        network: As it starts; nothing is done to one without linear modes.
        bank: Scans of the training; those with all pulses are used.
        start_from: Other weights that the run starts from; they stay as they are.

    Raises:
        ValueError: If there are fewer such heads than modes.
    """
    decoder = network.decoder
    if start_from is not None or not isinstance(decoder, AroundTemplate) or decoder.modes is None:
        return
    template = _mean_head(bank)
    deviations = torch.stack([_halved(_deviation(head, template)).flatten() for head in _heads(bank)])
    n_modes = len(decoder.modes)
    if len(deviations) <= n_modes:
        msg = (
            f"template_modes must be fewer than heads with all pulses, mirrored ones included, got {n_modes} "
            f"for {len(deviations)}; lower it."
        )
        raise ValueError(msg)
    variances, vectors = torch.linalg.eigh(deviations @ deviations.T / len(deviations))
    spread = variances[-n_modes:].flip(0).clamp_min(_LEAST_SPREAD**2).sqrt()
    modes = functional.normalize((deviations.T @ vectors[:, -n_modes:].flip(1)).T, dim=1)
    decoder.start_at(template, modes.view_as(decoder.modes), spread, network.partition.slices[RESIDUAL].start)
    mean_rows = network.posterior_head(RESIDUAL).linear
    with torch.no_grad():
        mean_rows.weight[:n_modes] = 0.0
        mean_rows.bias[:n_modes] = 0.0


def _heads(bank: ScanBank) -> Iterator[tuple[Tensor, Tensor]]:
    """Image and where it is no tumour, of every head and its mirror image."""
    step = max(1, len(bank.files) // _MOST_HEADS)
    for file in bank.files[::step]:
        cube = load_cube(file.path)
        if cube["available"].all():
            image, healthy = cube["image"], cube["tumour"] < _TUMOUR_SHARE
            yield image, healthy
            yield image.flip(1), healthy.flip(1)


def _mean_head(bank: ScanBank) -> Tensor:
    total, count = torch.zeros(()), torch.zeros(())
    for image, healthy in _heads(bank):
        total, count = total + image * healthy, count + healthy
    return total / count.clamp_min(1)


def _deviation(head: tuple[Tensor, Tensor], template: Tensor) -> Tensor:
    image, healthy = head
    return (image - template) * healthy


def _halved(image: Tensor) -> Tensor:
    return functional.avg_pool3d(image, 2)
