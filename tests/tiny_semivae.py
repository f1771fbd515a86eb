"""A SemiVAE of 32 voxels small enough for tests, and a checkpoint of it."""

from pathlib import Path

import numpy as np
import torch

from revoxel.core.checkpoints import save_weights
from revoxel.semivae.diagnosis.coverage import LatentBank
from revoxel.semivae.features.normalizer import FeatureNormalizer
from revoxel.semivae.features.resampled import NetworkGrid
from revoxel.semivae.features.table import FeatureTable
from revoxel.semivae.network.models import build_network, patients_digest, semivae_protocol
from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.network.semivae import SemiVAE

PARTITION = LatentPartition(
    (
        Part("vol", 4, ("wt.log_volume", "et.log_volume"), ("et",)),
        Part("loc", 3, ("wt.centroid_r_mm", "wt.centroid_a_mm", "wt.centroid_s_mm")),
        Part("shape", 4, ("wt.sphericity", "wt.flatness")),
        Part("residual", 5),
    )
)
ARGUMENTS = {
    "spatial_size": 32,
    "partition": PARTITION.to_dict(),
    "encoder": {"channels": [4, 4, 8, 8], "blocks": [1, 1, 1, 1], "norm_groups": 2},
    "pooling": {"strides": {"vol": [8, 16], "loc": [8], "shape": [4, 8], "residual": [8]}, "heads": 2},
    "decoder": {"channels": [8, 8, 4, 4], "last": "subpixel"},
}
GRID = NetworkGrid(voxel_mm=6.0, size=32)
PATIENTS = [f"p{i}" for i in range(30)]


def tiny_network(**change) -> SemiVAE:
    torch.manual_seed(0)
    return build_network(ARGUMENTS | change)


def tiny_images(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 4, 32, 32, 32, generator=torch.Generator().manual_seed(1))


def tiny_normalizer(features: tuple[str, ...] = PARTITION.features, **options) -> FeatureNormalizer:
    rng = np.random.default_rng(0)
    rows = [
        {
            "scan_id": name,
            "patient_id": name,
            **dict(zip(features, rng.normal(5, 2, len(features)), strict=True)),
        }
        for name in PATIENTS
    ]
    table = FeatureTable(tuple(rows), {}, dict.fromkeys(features, "1"))
    return FeatureNormalizer(features, **options).fit(table, PATIENTS)


def tiny_protocol(**change) -> dict:
    bank = LatentBank(np.zeros(PARTITION.z_dim), np.eye(PARTITION.z_dim))
    training = {"patients_sha256": patients_digest(PATIENTS)}
    return semivae_protocol(ARGUMENTS | change, GRID, tiny_normalizer(), training, bank)


def tiny_checkpoint(path: Path, **change) -> Path:
    return save_weights(path, tiny_network(**change).state_dict(), tiny_protocol(**change))
