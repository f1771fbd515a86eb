"""Visits on disk: a ball of brain in four pulses with a tumour of known size, its label map; a study."""

import json
from pathlib import Path

import nibabel
import numpy as np

from revoxel.core.pulses import Pulse
from tumours import nested_tumour, write_label

_SHAPE, _SPACING_MM, _BRAIN_MM = (40, 44, 36), 4.0, 60.0
_TUMOUR_GAIN = {Pulse.t1c: 1.8, Pulse.t1n: 0.7, Pulse.t2f: 1.6, Pulse.t2w: 1.5}


def write_visit(folder: Path, name: str, *, radius_mm=20.0, pulses=tuple(Pulse), label=True) -> Path:
    """Files `{name}-{pulse}.nii.gz` and `{name}-seg.nii.gz`; gives the folder."""
    tumour, affine = nested_tumour(radius_mm, shape=_SHAPE, spacing_mm=_SPACING_MM)
    points = np.moveaxis(np.indices(_SHAPE), 0, -1) * _SPACING_MM + affine[:3, 3]
    brain = np.linalg.norm(points, axis=-1) < _BRAIN_MM
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for pulse in pulses:
        tissue = 100 + 10 * rng.standard_normal(_SHAPE)
        image = np.where(brain, np.where(tumour > 0, _TUMOUR_GAIN[pulse], 1.0) * tissue, 0.0)
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), folder / f"{name}-{pulse}.nii.gz")
    if label:
        write_label(folder / f"{name}-seg.nii.gz", tumour, affine)
    return folder


def write_study(folder: Path, n_patients=2, n_visits=1, pulses=tuple(Pulse)) -> Path:
    """Study file of patients whose tumours grow."""
    scans = []
    for patient in range(n_patients):
        for visit in range(n_visits):
            name = f"p{patient}-{visit}"
            write_visit(folder, name, radius_mm=14.0 + 2 * patient + 3 * visit, pulses=pulses)
            scans.append(
                {
                    "scan_id": name,
                    "patient_id": f"p{patient}",
                    "time_years": float(visit),
                    "label": f"{name}-seg.nii.gz",
                    "images": {pulse: f"{name}-{pulse}.nii.gz" for pulse in pulses},
                }
            )
    path = folder / "study.json"
    path.write_text(json.dumps({"schema": 1, "scans": scans}))
    return path
