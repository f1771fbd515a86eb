"""All figures that need no probes and no label maps beside the cubes: for a run's own validation patients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.semivae.diagnosis.coverage import LatentBank, between, latent_coverage, reencode_drift
from revoxel.semivae.diagnosis.encoding import encode_scans
from revoxel.semivae.diagnosis.epoch import epoch_diagnostics
from revoxel.semivae.diagnosis.interventions import intervention_matrix
from revoxel.semivae.diagnosis.regression import mean_known
from revoxel.semivae.diagnosis.tumour_images import tumour_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.network.semivae import SemiVAE

    Numbers = NDArray[np.float64]


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
        figures |= intervention_matrix(network, partition, latents.mu).figures()
    figures |= image_figures(list(tumour_images(network, batches, latents)))
    if bank is not None:
        figures |= coverage_figures(network, latents.mu, bank)
    return figures


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
