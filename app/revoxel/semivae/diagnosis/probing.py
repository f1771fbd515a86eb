"""What every part of a latent tells about every feature, whether it was meant to or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from revoxel.semivae.diagnosis.matrix import NamedMatrix
from revoxel.semivae.diagnosis.regression import r2_masked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.semivae.diagnosis.latents import Latents
    from revoxel.semivae.network.partition import LatentPartition

_PENALTIES = np.logspace(-2, 4, 13)
_FEWEST = 8


def cross_probe_matrix(partition: LatentPartition, train: Latents, held_out: Latents) -> NamedMatrix:
    """R2 of ridge regressions from each part to each feature, fitted on training patients, scored on others.

    The penalty is chosen by leave-one-out on the training scans.

    Args:
        partition: Of the latent.
        train: Latents of the training patients.
        held_out: Latents of patients that the network has not seen.

    Returns:
        Parts by features; NaN where a feature is known in too few scans.

    Raises:
        ValueError: If a patient is in both.
    """
    shared = sorted(set(train.patients) & set(held_out.patients))
    if shared:
        msg = f"probes must be scored on patients they are not fitted on, got {shared}; split by patient."
        raise ValueError(msg)
    parts = partition.slices
    values = np.stack([probe_r2(train, held_out, part) for part in parts.values()])
    return NamedMatrix(tuple(parts), partition.features, values)


def probe_r2(train: Latents, held_out: Latents, part: slice) -> NDArray[np.float64]:
    """R2 of ridge regressions from some latents to each feature.

    Args:
        train: To fit on.
        held_out: To score.
        part: Of the latent.

    Returns:
        `(feature,)`, NaN where a feature is known in too few scans.
    """
    predicted = np.full_like(held_out.targets, np.nan)
    for index in range(held_out.targets.shape[1]):
        rows = train.known[:, index]
        if rows.sum() >= _FEWEST:
            probe = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
            probe.fit(train.mu[rows, part], train.targets[rows, index])
            predicted[:, index] = probe.predict(held_out.mu[:, part])
    return r2_masked(held_out.targets, predicted, held_out.known & np.isfinite(predicted))
