"""The best that a network at its grid could tell: features of the label map as that grid shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from revoxel.core.geometry import resample
from revoxel.core.volumes import read_volume
from revoxel.semivae.diagnosis.regression import feature_scores
from revoxel.semivae.features.extract import extract_tumour_features

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.semivae.diagnosis.latents import Latents
    from revoxel.semivae.features.normalizer import FeatureNormalizer
    from revoxel.semivae.features.resampled import NetworkGrid

    Numbers = NDArray[np.float64]
    Known = NDArray[np.bool_]


def resampled_targets(
    label: Path, grid: NetworkGrid, normalizer: FeatureNormalizer
) -> tuple[NDArray[np.float32], Known]:
    """Normalised features of a label map after nearest-neighbour resampling to the network's cube.

    Args:
        label: Label map.
        grid: The cube.
        normalizer: Of the network.

    Returns:
        `(feature,)` targets, and which of them are defined.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no label map.
    """
    volume = read_volume(label, allow_constant=True)
    cube = grid.around(volume.grid)
    moved = resample(volume.data, volume.grid, cube, order=0, fill=0.0)
    record = extract_tumour_features(np.rint(moved).astype(np.uint8), affine=cube.affine)
    return normalizer.transform(record.values)


def noise_ceiling(latents: Latents, resampled: Sequence[tuple[NDArray[np.float32], Known]]) -> Numbers:
    """Share of each native feature's variance that a line through the feature at the network's grid explains.

    Args:
        latents: With native targets.
        resampled: Of `resampled_targets`, for the same scans.

    Returns:
        `(feature,)` squared correlation; a network at this grid that sees the labels would reach so much.
    """
    targets, known = (np.stack(column) for column in zip(*resampled, strict=True))
    scores = feature_scores(latents.targets, targets.astype(np.float64), latents.known & known)
    return np.square(scores["pearson"])
