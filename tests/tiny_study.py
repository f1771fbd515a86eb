"""A training set of four small textured balls, blurred to imitate four experts; without clinical meaning."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BLURS = {"BSPLINE": 2.1, "ECLARE": 1.0, "SMORE": 0.8, "UNIRES": 1.4}
SEPARATION = 5
TINY = """
patch: {patch_size: [16, 16, 16], stride: [8, 8, 8], patches_per_volume: 1}
network: {wf: 8}
train: {epochs: 1}
"""


def write_study(folder: Path, side: int = 32) -> Path:
    """Write cubes of 1 mm voxels with 5 mm slices along every axis in turn, and the manifest."""
    rng = np.random.default_rng(0)
    cases = [_write_case(folder, f"p{number}", number % 3, side, rng) for number in range(4)]
    fold = {"name": "fold0", "train": ["p0", "p1"], "val": ["p2"], "test": ["p3"]}
    content = {"schema": 1, "experts": list(BLURS), "cases": cases, "folds": [fold]}
    path = folder / "manifest.json"
    path.write_text(json.dumps(content))
    return path


def write_broken_campaign(folder: Path) -> None:
    """Two folds and `tiny.yaml`; p3, which only fold1 trains on, has a cut-off volume, whole in `kept`."""
    manifest = write_study(folder, side=20)
    content = json.loads(manifest.read_text())
    shared = {"val": ["p1"], "test": ["p2"]}
    content["folds"] = [{"name": f"fold{n}", "train": [f"p{3 * n}"], **shared} for n in (0, 1)]
    manifest.write_text(json.dumps(content))
    (folder / "tiny.yaml").write_text(TINY)
    broken = folder / "p3_SR-SMORE.nii.gz"
    (folder / "kept").write_bytes(broken.read_bytes())
    broken.write_bytes(broken.read_bytes()[:900])


def _write_case(folder: Path, name: str, axis: int, side: int, rng: np.random.Generator) -> dict[str, object]:
    texture = ndimage.gaussian_filter(rng.normal(size=(side,) * 3), 1.5)
    radius = np.linalg.norm(np.indices((side,) * 3) - (side - 1) / 2, axis=0)
    truth = np.where(radius < 0.45 * side, 100 + 20 * texture / texture.std(), 0)
    # The slices reach a little beyond the truth, as they do when the side is no multiple of the separation.
    n_slices = -(-side // SEPARATION)
    padding = [(0, 0)] * 3
    padding[axis] = (0, n_slices * SEPARATION - side)
    padded = np.pad(truth, padding)
    low = ndimage.gaussian_filter1d(padded, 2.12, axis=axis).take(
        range(SEPARATION // 2, n_slices * SEPARATION, SEPARATION), axis=axis
    )
    low_affine = np.eye(4)
    low_affine[axis, axis], low_affine[axis, 3] = SEPARATION, SEPARATION // 2
    experts = {
        expert: _save(
            ndimage.gaussian_filter1d(padded, blur, axis=axis), folder / f"{name}_SR-{expert}.nii.gz"
        )
        for expert, blur in BLURS.items()
    }
    return {
        "subject": name,
        "patient": name,
        "pulse": "t1c",
        "spacing": "5mm",
        "axis": axis,
        "profile": {"label": "gauss:5", "std_mm": 2.12},
        "hr": _save(truth, folder / f"{name}.nii.gz"),
        "lr": _save(low, folder / f"{name}_lr.nii.gz", low_affine),
        "experts": experts,
    }


def _save(data: NDArray[np.float64], path: Path, affine: NDArray[np.float64] | None = None) -> str:
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.eye(4) if affine is None else affine), path)
    return path.name
