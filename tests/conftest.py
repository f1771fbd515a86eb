"""Fixtures shared by all tests: real data where it lies, a small synthetic brain, one thread per worker."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before torch starts its thread pool
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
GLIOMA = "mri/brats_gli_00001/BraTS-GLI-00001-000-{}.nii.gz"
THICK_TUMOUR = "mri/thick/TCGA-FG-6692_{}.nii.gz"

# The same examples everywhere and no time limit: a busy machine must not fail a law.
hypothesis.settings.register_profile("revoxel", deadline=None, derandomize=True)
hypothesis.settings.load_profile("revoxel")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests share few cores: more threads than cores make them many times slower."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """A bundle's logging.conf replaces the handlers of the root logger."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


def existing(relative: str) -> Path:
    """Path of a file or folder below the data folder, or a skip that says what is missing."""
    path = DATA / relative
    if not path.exists():
        pytest.skip(f"real data absent: ../shared/data/{relative}")
    return path


@pytest.fixture(scope="session")
def data_path():
    """Function that gives the path of a real file, `data_path("mri/misc/MR_Gd.nii.gz")`, or skips."""
    return existing


@pytest.fixture(scope="session")
def glioma_t1c() -> Path:
    """Truly 1 mm isotropic tumour case, contrast-enhanced T1."""
    return existing(GLIOMA.format("t1c"))


@pytest.fixture(scope="session")
def thick_tumour_t1c() -> Path:
    """Real 5.5 mm scan of a tumour patient, with skull, no ground truth."""
    return existing(THICK_TUMOUR.format("t1c"))


@pytest.fixture(scope="session")
def dicom_folder() -> Path:
    """One CT series as DICOM slices."""
    return existing("ct/dicom")


def synthetic_brain(shape: tuple[int, int, int] = (40, 44, 36), seed: int = 0) -> NDArray[np.float32]:
    """Folded grey/white texture, ventricles and a bright lesion on an exactly zero background."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 0.8) ** 2)
    folds = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    tissue = np.where(folds > 0, 90.0, 60.0) + 4 * ndimage.gaussian_filter(rng.standard_normal(shape), 0.7)
    ventricles = np.hypot(np.abs(x) - 0.15, np.hypot(y, z)) < 0.2
    lesion = np.sqrt((x - 0.4) ** 2 + (y - 0.2) ** 2 + (z - 0.1) ** 2) < 0.18
    brain = np.where(ventricles, 20.0, np.where(lesion, 140.0, tissue))
    brain = ndimage.gaussian_filter(brain, 0.6)
    return np.where(radius < 1, brain, 0).astype(np.float32)


@pytest.fixture(scope="session")
def brain() -> NDArray[np.float32]:
    """Small synthetic brain, 40 x 44 x 36 voxels, skull-stripped; treat as read-only."""
    volume = synthetic_brain()
    volume.flags.writeable = False
    return volume


@pytest.fixture(scope="session")
def brain_affine() -> NDArray[np.float64]:
    """Voxel-centre RAS affine of `brain`: 1 mm isotropic, origin off zero."""
    affine = np.eye(4)
    affine[:3, 3] = (-19.5, -21.5, -17.5)
    return affine


@pytest.fixture
def brain_file(brain, brain_affine, tmp_path) -> Path:
    """`brain` as a NIfTI file."""
    import nibabel

    path = tmp_path / "brain_t1n.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.array(brain), brain_affine), path)
    return path
