"""Small chests and studies of them, for tests that need a prepared CT."""

from pathlib import Path

import numpy as np

from revoxel.core.geometry import Grid
from revoxel.core.provenance import sha256_of
from revoxel.ct.scans.grids import coarsened
from revoxel.ct.scans.results import write_hu
from revoxel.ct.scans.study import CtRow, CtStudy, patient_folds, save_study
from revoxel.ct.simulation.thorax import simulate_thorax

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
