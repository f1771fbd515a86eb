"""A tiny CT study of smooth random volumes, as `revoxel ct prepare` would write it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from revoxel.core.geometry import Grid
from revoxel.core.volumes import write_volume

SIDE = 48


def write_ct_study(folder: Path, n_patients: int = 2, side: int = SIDE) -> Path:
    """`study.json` of patients p0, p1, ... with folds `without-pN`; HU vary around water and air."""
    rows = []
    for number in range(n_patients):
        noise = gaussian_filter(np.random.default_rng(number).normal(size=(side, side, side)), 1.5)
        fine = np.rint(-300 + 300 * noise / noise.std()).clip(-1023, 1476).astype(np.float32)
        coarse = fine.reshape(*(part for n in fine.shape for part in (n // 4, 4))).mean(axis=(1, 3, 5))
        for kind, volume, spacing_mm in (("fine", fine, 1.5), ("coarse", coarse, 6.0)):
            grid = Grid(volume.shape, np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]))
            write_volume(folder / kind / f"p{number}.nii.gz", volume, grid)
        rows.append(
            {
                "name": f"p{number}",
                "patient_id": f"p{number}",
                "fine": f"fine/p{number}.nii.gz",
                "coarse": f"coarse/p{number}.nii.gz",
                "spacing_mm": 1.5,
            }
        )
    patients = [row["patient_id"] for row in rows]
    folds = [
        {"name": f"without-{left}", "train": [p for p in patients if p != left], "val": [], "test": [left]}
        for left in patients
    ]
    path = folder / "study.json"
    path.write_text(json.dumps({"schema": 1, "spacing_mm": 1.5, "rows": rows, "folds": folds}))
    return path
