"""All figures that need no probes and no label maps beside the cubes: for a run's own validation patients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.semivae.diagnosis.coverage import LatentBank, between, latent_coverage, reencode_drift
from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.diagnosis.epoch import epoch_diagnostics
from revoxel.semivae.diagnosis.interventions import intervention_matrix
from revoxel.semivae.diagnosis.regression import mean_known
from revoxel.semivae.diagnosis.tumour_images import tumour_images

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.semivae.diagnosis.matrix import NamedMatrix
    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.network.semivae import SemiVAE

    Numbers = NDArray[np.float64]

_HALF = 0.5


def validation_figures(
    network: SemiVAE,
    partition: LatentPartition,
    batches: Sequence[Mapping[str, Any]],
    free_bits: Mapping[str, float] | None = None,
    bank: LatentBank | None = None,
) -> dict[str, float]:
    """Diagnostics of an epoch, exchanges, tumour images, coverage.

    Args:
        network: With its best weights.
        partition: Of its latent.
        batches: Of validation: `image`, `available`, `targets`, `target_mask`, `tumour`, `brain`.
        free_bits: Nats per latent by part that the objective did not ask back.
        bank: Of the training patients.

    Returns:
        Numbers by log name.
    """
    latents = encode_scans(network, partition, batches)
    figures = epoch_diagnostics(network, partition, batches, free_bits)
    if len(latents) > 1:
        figures |= exchange_figures(network, partition, latents.mu, brains(batches))[0]
    figures |= image_figures(list(tumour_images(network, batches, latents)))
    if bank is not None:
        figures |= coverage_figures(network, latents.mu, bank)
    return figures


def brains(batches: Iterable[Mapping[str, Any]]) -> torch.Tensor:
    """Voxels of which at least half is brain.

    Args:
        batches: With `brain`.

    Returns:
        `(scan, 1, i, j, k)` bool.
    """
    return torch.cat([batch["brain"] >= _HALF for batch in batches])


def exchange_figures(
    network: SemiVAE, partition: LatentPartition, mu: Numbers, brain: torch.Tensor
) -> tuple[dict[str, float], NamedMatrix]:
    """Exchanges of parts, read from the decoded images as they are, and from their brains alone.

    Args:
        network: With heads.
        partition: Of its latent.
        mu: `(scan, latent)`.
        brain: Of `brains`, for the same scans.

    Returns:
        `intervention/*` and `intervention_in_brain/*`; the matrix of the former.
    """
    whole = intervention_matrix(network, partition, mu)
    inside = intervention_matrix(network, partition, mu, brain)
    return whole.figures() | inside.figures("intervention_in_brain"), whole.matrix


def image_figures(scans: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over scans.

    Args:
        scans: Of `tumour_images`.
    """
    return {f"image/{name}": mean_known(np.array([scan[name] for scan in scans])) for name in scans[0]}


def coverage_figures(network: SemiVAE, mu: Numbers, bank: LatentBank) -> dict[str, float]:
    """Where scans lie among the training patients', and whether the space between them is filled.

    Args:
        network: With encoder and decoder.
        mu: `(scan, latent)`.
        bank: Of the training patients.

    Returns:
        `coverage/*`, and `drift/scans`, `drift/between`: median drift of scans and of points half way between
        two, when they are decoded and encoded again, in standard deviations over the training patients.
    """
    spread = np.sqrt(np.diag(bank.covariance))
    figures = {f"coverage/{name}": value for name, value in latent_coverage(bank, mu).items()}
    for name, points in {"scans": mu, "between": between(mu)}.items():
        figures[f"drift/{name}"] = float(np.median(reencode_drift(network, points, spread)))
    return figures
