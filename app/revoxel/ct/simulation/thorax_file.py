"""Synthetic chests as files, each where a table would have put it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from revoxel.core.geometry import Grid
from revoxel.core.volumes import RESEARCH_USE
from revoxel.ct.scans.results import write_hu
from revoxel.ct.simulation.thorax import simulate_thorax

if TYPE_CHECKING:
    from pathlib import Path

_TABLE_MM = 100.0


def write_thorax(path: Path, size: int, spacing_mm: float, seed: int, *, overwrite: bool = False) -> Path:
    """Paint a chest and write it as int16 NIfTI.

    Args:
        path: `.nii.gz` or `.nii`.
        size: Voxels along every axis.
        spacing_mm: Voxel size.
        seed: Decides the patient, and where the table was.
        overwrite: Replace a file that exists.

    Returns:
        `path`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        OSError: If it cannot be written.
        ValueError: If the size is too small or the spacing not positive.
    """
    rng = np.random.default_rng(seed)
    hu = simulate_thorax(size, spacing_mm, rng)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = rng.uniform(-_TABLE_MM, _TABLE_MM, 3) - spacing_mm * (size - 1) / 2
    description = f"synthetic chest, seed {seed}; {RESEARCH_USE}"
    return write_hu(path, hu, Grid((size, size, size), affine), overwrite=overwrite, description=description)
