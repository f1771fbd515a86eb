"""A study on disk as people keep them: truths, simulated 5 mm scans with their records, expert volumes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from revoxel.core.geometry import Grid
from revoxel.core.volumes import Volume, write_volume
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import Acquisition, write_simulation

SHAPE = (20, 22, 18)
PROFILE = SliceProfile.rect(5)
GRID = Grid(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0]))
# 18 mm in slices of 5 mm reach to 20 mm.
FINE = Grid((*SHAPE[:2], 20), GRID.affine)


def texture(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    """Equally rough along all axes, without a background."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 1.0, mode="wrap")
    return (100 + 20 * smooth / smooth.std()).astype(np.float32)


def write_subject(
    root: Path,
    subject: str,
    *,
    pulse: str = "t1c",
    seed: int = 0,
    experts: tuple[Expert, ...] = tuple(Expert),
) -> Path:
    """Layout `plain`: `hr/NAME`, `5mm/NAME`, experts beside the scan; returns the scan."""
    name, data = f"{subject}-{pulse}.nii.gz", texture(seed)
    truth, scan = root / "hr" / name, root / "5mm" / name
    write_volume(truth, data, GRID)
    acquisition = Acquisition(profile=PROFILE, separation_mm=5.0, axis=2)
    write_simulation(Volume(data, GRID, truth), acquisition, scan)
    for expert in experts:
        write_volume(expert_path(scan, expert), np.pad(data, ((0, 0), (0, 0), (0, 2)), mode="edge"), FINE)
    return scan


def expert_path(scan: Path, expert: Expert) -> Path:
    """Where an expert's volume of a scan lies."""
    return scan.with_name(f"{scan.name.removesuffix('.nii.gz')}_SR-{expert}.nii.gz")


def shifted(path: Path, offset_mm: tuple[float, float, float]) -> None:
    """Move a volume in space."""
    import nibabel

    image = nibabel.load(path)
    data, affine = image.get_fdata(dtype=np.float32), image.affine.copy()
    affine[:3, 3] += offset_mm
    path.unlink()
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def truncated(path: Path) -> None:
    """Cut a file in half, as an interrupted copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
