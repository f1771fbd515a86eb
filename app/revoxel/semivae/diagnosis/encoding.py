"""Run a network over scans without gradients: latents beside truths, reconstructions from changed latents."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.semivae.diagnosis.latents import Latents
from revoxel.semivae.objective.kl import kl_per_dimension

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.network.semivae import SemiVAE

    Numbers = NDArray[np.float64]

BATCH_SIZE = 8


@contextmanager
def frozen(network: SemiVAE) -> Iterator[torch.device]:
    """Evaluate a network, without gradients, and leave it in the mode it was in.

    Args:
        network: Any.

    Yields:
        The device of its weights.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield next(network.parameters()).device
    finally:
        network.train(was_training)


def encode_scans(
    network: SemiVAE, partition: LatentPartition, batches: Iterable[Mapping[str, Any]]
) -> Latents:
    """Posterior, predictions and truths of scans.

    Args:
        network: To look at.
        partition: Of its latent.
        batches: `image`, `available`, `targets`, `target_mask`, and `patient_id` (a list) if known; without
            it every scan counts as a patient.

    Returns:
        One row per scan, in the order of the batches.

    Raises:
        ValueError: If there is no scan.
    """
    rows: list[dict[str, Numbers]] = []
    patients: list[str] = []
    with frozen(network) as device:
        for batch in batches:
            rows.append(_encoded(network, partition, batch, device))
            strangers = range(len(patients), len(patients) + len(batch["image"]))
            patients += [str(name) for name in batch.get("patient_id", strangers)]
    if not rows:
        msg = "there must be scans to encode, got none; choose a fold that holds patients."
        raise ValueError(msg)
    columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    known = columns.pop("known") > 0
    return Latents(**columns, known=known, patients=tuple(patients))


def _encoded(
    network: SemiVAE, partition: LatentPartition, batch: Mapping[str, Any], device: torch.device
) -> dict[str, Numbers]:
    mu, logvar = network.encode(batch["image"].to(device), batch["available"].to(device))
    prior = None if network.priors is None else network.priors.prior(partition.split(mu))
    return {
        "mu": _numbers(mu),
        "logvar": _numbers(logvar),
        "kl_nats": _numbers(kl_per_dimension(mu, logvar, prior)),
        "predicted": _in_order(network, partition, mu),
        "targets": _numbers(batch["targets"]),
        "known": _numbers(batch["target_mask"]),
    }


def predict_features(network: SemiVAE, partition: LatentPartition, mu: Numbers) -> Numbers:
    """Normalised features that the heads read from latents.

    Args:
        network: With heads.
        partition: Of its latent.
        mu: `(scan, latent)`.

    Returns:
        `(scan, feature)`, in the partition's order.
    """
    with frozen(network) as device:
        return _in_order(network, partition, _tensor(mu, device))


def _in_order(network: SemiVAE, partition: LatentPartition, mu: torch.Tensor) -> Numbers:
    predictions = network.predict(mu)
    columns = [predictions[part.name] for part in partition.supervised]
    return _numbers(torch.cat(columns, dim=1))


def decode_in_batches(network: SemiVAE, latents: Numbers) -> Iterator[torch.Tensor]:
    """Reconstructions of latents, a few at a time; use inside `frozen`.

    Args:
        network: With a decoder.
        latents: `(scan, latent)`.

    Yields:
        `(batch, channel, i, j, k)` on the network's device.
    """
    device = next(network.parameters()).device
    for start in range(0, len(latents), BATCH_SIZE):
        yield network.decode(_tensor(latents[start : start + BATCH_SIZE], device))


def reencode(network: SemiVAE, latents: Numbers, brain: torch.Tensor | None = None) -> Numbers:
    """What the encoder finds in the decoder's images: E(D(z)).

    Args:
        network: With encoder and decoder.
        latents: `(scan, latent)`.
        brain: `(scan, 1, i, j, k)` voxels to leave as they are decoded, others are set to 0; None leaves all.

    Returns:
        `(scan, latent)` posterior means.
    """
    with frozen(network):
        seen = repeat(torch.ones(())) if brain is None else brain.split(BATCH_SIZE)
        images = zip(decode_in_batches(network, latents), seen, strict=False)
        found = [network.encode(some * there.to(some.device), None)[0] for some, there in images]
        return _numbers(torch.cat(found))


def _numbers(values: torch.Tensor) -> Numbers:
    return torch.as_tensor(values).double().cpu().numpy()


def _tensor(values: Numbers, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device)
