"""Bring the volumes of a scan onto the first by rigid registration (ITK), and say how far they had moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.geometry import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_LPS_TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))
_ITERATIONS = 200
_BINS = 32


@dataclass(frozen=True, eq=False)
class Realigned:
    """Volumes on one head position.

    Args:
        volumes: `(volume, i, j, k)`.
        displacements_mm: How far the voxels of the head had moved on average, one value per volume.
    """

    volumes: NDArray[np.float32]
    displacements_mm: tuple[float, ...]


def realign(
    volumes: NDArray[np.float32],
    grid: Grid,
    reference: NDArray[np.float32],
    progress: Callable[[float], None] | None = None,
) -> Realigned:
    """Register every volume rigidly to a reference, by mutual information, and resample it.

    Args:
        volumes: `(volume, i, j, k)`.
        grid: Of the volumes and the reference.
        reference: `(i, j, k)`, such as the first control.
        progress: Called with the share done.

    Returns:
        Volumes in the reference's position.

    Raises:
        ValueError: If the images have fewer than four slices: rotations out of their plane cannot be told.
    """
    if min(grid.shape) < 4:
        msg = f"motion can be corrected in images of at least 4 slices, got {grid.shape}; use --motion none."
        raise ValueError(msg)
    fixed = _itk_image(reference, grid)
    head = _head_points(reference, grid)
    centre = _LPS_TO_RAS[:3, :3] @ head.mean(axis=0)
    moved, displacements = [], []
    for index, volume in enumerate(volumes):
        transform = _registered(fixed, _itk_image(volume, grid), centre)
        # ITK maps fixed to moving positions: the moved head lies at transform(fixed).
        pulled = Grid(grid.shape, transform @ grid.affine)
        moved.append(resample(np.nan_to_num(volume), grid, pulled, antialias=False))
        offsets = head @ transform[:3, :3].T + transform[:3, 3] - head
        displacements.append(float(np.linalg.norm(offsets, axis=1).mean()))
        if progress:
            progress((index + 1) / len(volumes))
    return Realigned(np.stack(moved), tuple(displacements))


def _head_points(image: NDArray[np.float32], grid: Grid) -> NDArray[np.float64]:
    bright = np.argwhere(image > np.nanmean(image))
    return grid.world(bright[:: max(1, len(bright) // 1000)].astype(np.float64))


def _itk_image(data: NDArray[np.float32], grid: Grid) -> Any:
    import itk

    image = itk.image_from_array(np.ascontiguousarray(np.nan_to_num(data).T, dtype=np.float32))
    lps = _LPS_TO_RAS @ grid.affine
    image.SetSpacing([float(size) for size in grid.spacing_mm])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / np.array(grid.spacing_mm))))
    return image


def _registered(fixed: Any, moving: Any, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """RAS matrix from positions of the fixed image to those of the moving one."""
    import itk

    kind = type(fixed)
    transform = itk.Euler3DTransform[itk.D].New()
    # Rotations about the scanner's origin would shift the head by centimetres: the optimiser could not step.
    transform.SetCenter([float(value) for value in centre])
    metric = itk.MattesMutualInformationImageToImageMetricv4[kind, kind].New(NumberOfHistogramBins=_BINS)
    scales = itk.RegistrationParameterScalesFromPhysicalShift[type(metric)].New(Metric=metric)
    optimizer = itk.RegularStepGradientDescentOptimizerv4.D.New(
        NumberOfIterations=_ITERATIONS, LearningRate=2.0, MinimumStepLength=0.01, RelaxationFactor=0.5
    )
    optimizer.SetGradientMagnitudeTolerance(1e-8)
    optimizer.SetScalesEstimator(scales)
    optimizer.SetDoEstimateLearningRateOnce(False)
    method = itk.ImageRegistrationMethodv4[kind, kind].New(
        FixedImage=fixed, MovingImage=moving, Metric=metric, Optimizer=optimizer, InitialTransform=transform
    )
    method.SetNumberOfLevels(2)
    method.SetShrinkFactorsPerLevel([2, 1])
    # One voxel, also at the end: linear interpolation of sharp noise pulls towards whole voxels.
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(False)
    method.SetSmoothingSigmasPerLevel([1, 1])
    method.SetInPlace(True)
    method.Update()
    matrix = np.eye(4)
    matrix[:3, :3] = itk.array_from_matrix(transform.GetMatrix())
    matrix[:3, 3] = np.array(transform.GetOffset())
    return np.asarray(_LPS_TO_RAS @ matrix @ _LPS_TO_RAS)
