"""Does the network read the tumour? Shuffled targets must not be predicted, blanked tumours not be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch.nn import functional

from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.diagnosis.probing import probe_r2
from revoxel.semivae.diagnosis.regression import mean_known, r2_masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from revoxel.semivae.diagnosis.latents import Latents, Numbers
    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.network.semivae import SemiVAE


def permutation_r2(train: Latents, held_out: Latents, *, seed: int = 0) -> float:
    """R2 when every patient gets the targets of another one; above 0.05 something leaks.

    Patients are shuffled over both sides together. Ridge regression and the nearest training scan predict the
    held-out side: the latter knows a patient who is on both sides by heart.

    Args:
        train: To fit on.
        held_out: Of other patients, to score.
        seed: Of the shuffle.

    Returns:
        The better of the two predictors, each the mean over the features that can be scored.
    """
    owners = np.array([*train.patients, *held_out.patients])
    names, first, patient = np.unique(owners, return_index=True, return_inverse=True)
    rows = first[np.random.default_rng(seed).permutation(len(names))][patient]
    targets = np.concatenate([train.targets, held_out.targets])[rows]
    known = np.concatenate([train.known, held_out.known])[rows]
    n = len(train)
    here = replace(train, targets=targets[:n], known=known[:n])
    there = replace(held_out, targets=targets[n:], known=known[n:])
    return max(mean_known(r2) for r2 in (probe_r2(here, there, slice(None)), _nearest_r2(here, there)))


def _nearest_r2(train: Latents, held_out: Latents) -> Numbers:
    nearest = cdist(held_out.mu, train.mu).argmin(axis=1)
    return r2_masked(held_out.targets, train.targets[nearest], held_out.known & train.known[nearest])


def blanking_drop(
    network: SemiVAE,
    partition: LatentPartition,
    batches: Iterable[Mapping[str, Any]],
    latents: Latents,
    feature: str = "wt.log_volume",
) -> float:
    """How much R2 falls when the tumour and its surroundings are blanked; below 0.5 it was read elsewhere.

    Args:
        network: With heads.
        partition: Of its latent.
        batches: As of `encode_scans`, with `tumour`.
        latents: Of the same scans as they are.
        feature: Whose R2.

    Returns:
        R2 as it is, less R2 with blanked tumours.
    """
    blank = encode_scans(network, partition, _blanked_batches(batches))
    column = [partition.features.index(feature)]

    def r2(of: Latents) -> float:
        return float(r2_masked(of.targets[:, column], of.predicted[:, column], of.known[:, column])[0])

    return r2(latents) - r2(blank)


def blanked(image: torch.Tensor, tumour: torch.Tensor, voxels: int = 1) -> torch.Tensor:
    """Images whose tumours, grown by some voxels, are set to 0: the mean of the brain, and air.

    Args:
        image: `(scan, channel, i, j, k)`, z-scores.
        tumour: `(scan, 1, i, j, k)` share of tumour in each voxel.
        voxels: How far to grow, >= 0.

    Returns:
        Of the images' shape.
    """
    grown = functional.max_pool3d((tumour > 0).float(), 2 * voxels + 1, stride=1, padding=voxels)
    return image * (grown == 0)


def _blanked_batches(batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for batch in batches:
        yield {**batch, "image": blanked(batch["image"], batch["tumour"])}
