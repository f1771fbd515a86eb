"""A few synthetic patients on disk, coarse enough for tests, and a partition of features that they have."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from revoxel.semivae.simulation.cohort import CohortRecipe, write_cohort
from revoxel.semivae.simulation.phantom import PhantomSettings
from tiny_semivae import PARTITION, tiny_images

FEATURES = ("wt.log_volume", "wt.centroid_r_mm", "wt.centroid_a_mm", "wt.centroid_s_mm")
PARTS: dict[str, Any] = {
    "parts": [
        {"name": "vol", "size": 4, "features": list(FEATURES[:1]), "presence": ["ed", "ncr"]},
        {"name": "loc", "size": 6, "features": list(FEATURES[1:])},
        {"name": "residual", "size": 12},
    ]
}
#: Values of the bundle's training for a network that learns in seconds.
TINY: dict[str, Any] = {
    "fold": "fold0",
    "partition": PARTS,
    "arguments": {
        "encoder": {"channels": [4, 4, 8, 8], "blocks": [1, 1, 1, 1], "norm_groups": 2},
        "pooling": {"strides": {"vol": [8, 16], "loc": [4, 8], "residual": [8]}, "heads": 2},
        "decoder": {"channels": [8, 8, 4, 4], "template": True, "template_modes": 4},
    },
    "residualize": {},
    "semantic_weights": {},
    "min_count": 2,
    "epochs": 2,
    "val_interval": 1,
    "batch_size": 4,
    "independence_queue": 8,
}


def write_small_cohort(
    folder: Path, n_patients: int = 10, voxel_mm: float = 6.0, radius_mm: tuple[float, float] = (14.0, 26.0)
) -> Path:
    """Study folder of patients with one visit each, five folds."""
    phantom = PhantomSettings(voxel_mm=voxel_mm, radius_mm=radius_mm)
    write_cohort(folder, CohortRecipe(n_patients, phantom))
    return folder


def truth(n: int = 3) -> dict[str, Tensor]:
    """Truths of a batch of the tiny network, without meaning."""
    generator = torch.Generator().manual_seed(2)
    share = torch.rand(n, 1, 32, 32, 32, generator=generator)
    return {
        "image": tiny_images(n),
        "measured": torch.ones(n, 4, dtype=torch.bool),
        "available": torch.ones(n, 4, dtype=torch.bool),
        "brain": share,
        "tumour": (share > 0.9).float(),
        "targets": torch.randn(n, len(PARTITION.features), generator=generator),
        "target_mask": torch.ones(n, len(PARTITION.features), dtype=torch.bool),
        "presence": torch.ones(n, len(PARTITION.presence)),
    }
