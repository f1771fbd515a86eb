"""Tiny trainings of ASL networks; what they learn means nothing."""

from pathlib import Path
from typing import Any

from revoxel.asl.learning.configuration import default_sections, train_network
from revoxel.core.training import overlaid

TINY: dict[str, Any] = {
    "epochs": 2,
    "budget_s": 0,
    "slices_per_epoch": 4,
    "validation_slices": 2,
    "val_interval": 1,
    "batch_size": 2,
    "phantom_size": 32,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "VoxelASLNet": {"in_channels": 12, "hidden": [16]},
    "SpatialASLNet": {"in_channels": 12, "features": [8, 16], "norm": "group"},
    "AmplitudeAwareSpatialASLNet": {
        "in_channels": 12,
        "features": [8, 16],
        "amplitude": "film+modulation",
        "film_at": ["bottleneck"],
        "residual_on_fit": False,
    },
}


def train_tiny(folder: Path, model: str | None = None, **values: Any) -> Path:
    """Train a network of a class, or the shipped form; returns its weights."""
    sections = default_sections()
    if model is not None:
        sections = overlaid(sections, {"network": {"model": model, "arguments": None}})
        sections["network"]["arguments"] = NETWORKS[model]
    return train_network(sections, folder, **{**TINY, **values})
