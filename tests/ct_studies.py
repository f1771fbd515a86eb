"""Small chests and studies of them, for tests that need a prepared CT."""

from pathlib import Path

import numpy as np
import torch

from revoxel.core.checkpoints import save_checkpoint
from revoxel.core.geometry import Grid
from revoxel.core.provenance import sha256_of
from revoxel.ct.detail.lifting import XrayScene
from revoxel.ct.detail.models import refiner_protocol
from revoxel.ct.detail.network import DetailRefiner3D
from revoxel.ct.scans.grids import coarsened
from revoxel.ct.scans.results import write_hu
from revoxel.ct.scans.study import CtRow, CtStudy, patient_folds, save_study
from revoxel.ct.simulation.thorax import simulate_thorax
from revoxel.ct.upsampler.models import build_upsampler, upsampler_protocol
from revoxel.ct.xray.geometry import XrayGeometry

SIZE = 64
SPACING_MM = 5.0


def chest(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Chest `(x, y, z)` in HU at 5 mm."""
    return np.rint(simulate_thorax(size, SPACING_MM, np.random.default_rng(seed)))


def grid(size: int = SIZE, corner_mm: float = -50.0) -> Grid:
    """Where a chest lies."""
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = corner_mm
    return Grid((size, size, size), affine)


def coarse_of(fine: np.ndarray, factor: int = 4) -> np.ndarray:
    """Block means."""
    x, y, z = (side // factor for side in fine.shape)
    return fine.reshape(x, factor, y, factor, z, factor).mean(axis=(1, 3, 5))


def write_pair(folder: Path, name: str, seed: int = 0) -> tuple[Path, Path]:
    """Write `fine/NAME.nii.gz` and `coarse/NAME.nii.gz`."""
    fine, where = chest(seed), grid()
    paths = folder / "fine" / f"{name}.nii.gz", folder / "coarse" / f"{name}.nii.gz"
    write_hu(paths[0], fine, where)
    write_hu(paths[1], coarse_of(fine), coarsened(where, 4))
    return paths


def write_study(folder: Path, patients: tuple[str, ...] = ("p1", "p2")) -> Path:
    """Write a study of one chest per patient and give `study.json`."""
    rows = []
    for seed, patient in enumerate(patients):
        fine, coarse = write_pair(folder, patient, seed)
        rows.append(
            CtRow(
                name=patient,
                patient_id=patient,
                fine=fine.relative_to(folder),
                coarse=coarse.relative_to(folder),
                spacing_mm=SPACING_MM,
                sha256={"fine": sha256_of(fine), "coarse": sha256_of(coarse)},
            )
        )
    return save_study(
        CtStudy(spacing_mm=SPACING_MM, rows=rows, folds=patient_folds(patients)), folder / "study.json"
    )


def write_upsampler(path: Path) -> Path:
    """Weights of the smallest upsampler, random in the last layer, so that it adds something."""
    torch.manual_seed(0)
    arguments = {"head": "coarse", "channels": [4], "blocks": [1], "attention": False}
    network = build_upsampler(arguments)
    with torch.no_grad():
        for weights in network.tails.parameters():
            weights.normal_(std=1e-2)
    protocol = upsampler_protocol(arguments, {"low_hu": -1024.0, "high_hu": 1476.0}, SPACING_MM)
    return save_checkpoint(path, {"model": network.state_dict()}, protocol)


def write_refiner(path: Path, size: int) -> Path:
    """Weights of the smallest detail network for cubes of `size` voxels."""
    torch.manual_seed(0)
    arguments = {"hidden": 4, "blocks": 1, "lift_channels": 2, "bands": 2, "fold": 2}
    scene = XrayScene((SPACING_MM, SPACING_MM, SPACING_MM), XrayGeometry(size=size))
    network = DetailRefiner3D(**arguments, scene=scene)
    with torch.no_grad():
        for weights in network.tail.parameters():
            weights.normal_(std=1e-2)
    return save_checkpoint(path, {"model": network.state_dict()}, refiner_protocol(arguments, scene))
