"""Is the image in the latent? Errors of reconstructions from all of it, from parts of it, from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.semivae.diagnosis.encoding import frozen
from revoxel.semivae.network.partition import RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from revoxel.semivae.diagnosis.latents import Latents
    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.network.semivae import SemiVAE

    Numbers = NDArray[np.float64]


def residual_alive(
    network: SemiVAE, partition: LatentPartition, batches: Iterable[Mapping[str, Any]], latents: Latents
) -> dict[str, float]:
    """Mean squared errors that a living residual must lower, and what the residual carries.

    Args:
        network: With a decoder.
        partition: Of its latent, with a part `residual`.
        batches: `image` and `available` of the scans of `latents`, in their order.
        latents: Of `encode_scans`.

    Returns:
        Over all voxels of the pulses that are there: `mse_mu` (whole latent), `mse_without_residual`
        (residual at its mean over the scans: means that drifted from 0 would make 0 a strange place),
        `mse_other_residual` (residual of the scan before), `mse_z0` (all at 0), `mse_mean_image` (error that
        the mean image of the population is expected to have: the unbiased variance over these scans);
        `kl_residual` in nats per scan, without what a mean away from 0 costs: it says nothing about a scan.
    """
    where = partition.slices[RESIDUAL]
    usual = latents.mu[:, where].mean(axis=0)
    without, another = latents.mu.copy(), latents.mu.copy()
    without[:, where] = usual
    another[:, where] = np.roll(latents.mu[:, where], 1, axis=0)
    errors, n_voxels, start, moments = np.zeros(4), 0.0, 0, _Moments()
    with frozen(network) as device:
        nothing = network.decode(torch.zeros(1, partition.z_dim, device=device))
        for batch in batches:
            image, there = batch["image"].to(device), batch["available"].to(device)
            rows = slice(start, start + len(image))
            start = rows.stop
            given = (latents.mu, without, another)
            guesses = [network.decode(_tensor(one[rows], device)) for one in given]
            errors += [_squared_error(image, guess, there) for guess in (*guesses, nothing)]
            n_voxels += float(there.sum()) * image[0, 0].numel()
            moments.add(image, there)
    mu, less, other, zero = (errors / n_voxels).tolist()
    return {
        "mse_mu": mu,
        "mse_without_residual": less,
        "mse_other_residual": other,
        "mse_z0": zero,
        "mse_mean_image": moments.variance(),
        "kl_residual": float(latents.kl_nats[:, where].sum(axis=1).mean() - 0.5 * np.square(usual).sum()),
    }


class _Moments:
    """Sums of images and of their squares over the scans that have a pulse."""

    def __init__(self) -> None:
        self.total: torch.Tensor | float = 0.0
        self.square: torch.Tensor | float = 0.0
        self.count: torch.Tensor | float = 0.0

    def add(self, image: torch.Tensor, there: torch.Tensor) -> None:
        # Float64: a variance by differences of sums loses digits.
        values = image.double() * there[:, :, None, None, None]
        self.total = self.total + values.sum(dim=0)
        self.square = self.square + values.square().sum(dim=0)
        self.count = self.count + there.sum(dim=0).double()

    def variance(self) -> float:
        count = torch.as_tensor(self.count)
        enough = count >= 2
        if not bool(enough.any()):
            return float("nan")
        total, square = torch.as_tensor(self.total)[enough], torch.as_tensor(self.square)[enough]
        n = count[enough][:, None, None, None]
        spread = (square - total.square() / n) / (n - 1)
        return float((spread * n).sum() / (n.sum() * spread[0].numel()))


def _squared_error(image: torch.Tensor, guess: torch.Tensor, there: torch.Tensor) -> float:
    per_channel = (image - guess).float().square().sum(dim=(2, 3, 4))
    return float((per_channel * there).sum(dtype=torch.float64))


def _tensor(values: Numbers, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device)
