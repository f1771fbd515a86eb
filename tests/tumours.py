"""Label maps whose every part is known, and a study of them on disk."""

import json

import nibabel
import numpy as np


def nested_tumour(radius_mm=12.0, *, shape=(40, 44, 36), spacing_mm=1.5, centre_mm=(3.0, -4.0, 2.0)):
    """Ball of oedema with a ball of enhancement and a necrotic middle; array and affine."""
    affine = np.diag((spacing_mm, spacing_mm, spacing_mm, 1.0))
    affine[:3, 3] = -spacing_mm * (np.array(shape) - 1) / 2
    points = np.moveaxis(np.indices(shape), 0, -1) * spacing_mm + affine[:3, 3]
    distance = np.linalg.norm(points - np.array(centre_mm), axis=-1)
    label = np.zeros(shape, dtype=np.uint8)
    for value, share in ((2, 1.0), (3, 0.7), (1, 0.4)):
        label[distance <= share * radius_mm] = value
    return label, affine


def write_label(path, label, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(label, affine), path)
    return path


def write_study(folder, radii_mm, *, visits=1, folds=()):
    """Study with one label map per visit, a little larger each time."""
    scans = []
    for number, radius_mm in enumerate(radii_mm):
        for visit in range(visits):
            name = f"p{number}-{visit}"
            centre_mm = (number % 5 - 2.0, number % 3 - 4.0, 0.5 * number % 4)
            write_label(
                folder / f"{name}.nii.gz", *nested_tumour(radius_mm + 0.4 * visit, centre_mm=centre_mm)
            )
            scans.append(
                {
                    "scan_id": name,
                    "patient_id": f"p{number}",
                    "time_years": float(visit),
                    "label": f"{name}.nii.gz",
                }
            )
    path = folder / "study.json"
    path.write_text(json.dumps({"schema": 1, "scans": scans, "folds": list(folds)}))
    return path
