"""PSNR, RMSE and SSIM of a volume against the truth, each with its region and its range stated."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from revoxel.core.ssim import SSIMWindow, volume_ssim_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Volume = NDArray[np.float32]
    Mask = NDArray[np.bool_]

_RANGE_PERCENTILE = 99.9


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How close a volume is to the truth in one region.

    Attributes:
        psnr_db: Peak signal-to-noise ratio in dB, peak = `data_range`.
        ssim: Structural similarity, 3D Gaussian window of 7 voxels, sigma 1.5.
        rmse: Root-mean-square error in the units of the volumes.
        data_range: The range that PSNR and SSIM refer to.
    """

    psnr_db: float
    ssim: float
    rmse: float
    data_range: float

    def as_dict(self) -> dict[str, float]:
        """Plain numbers for JSON and tables."""
        return asdict(self)


def score(prediction: Volume, truth: Volume, mask: Mask | None = None) -> Scores:
    """Score a volume against the truth.

    Args:
        prediction: `(i, j, k)`, in the units of `truth`.
        truth: `(i, j, k)`, on the same grid.
        mask: `(i, j, k)`, where to compare; the range is then the 99.9th percentile of the truth inside. None
            compares the full volume, with the truth's maximum as the range.

    Returns:
        The scores with their range.

    Raises:
        ValueError: If the shapes differ, the mask is empty, or the truth has no positive range.
    """
    _check_pair(prediction, truth, mask)
    data_range = float(truth.max() if mask is None else np.percentile(truth[mask], _RANGE_PERCENTILE))
    return Scores(
        psnr_db=psnr(prediction, truth, mask, data_range=data_range),
        ssim=ssim(prediction, truth, mask, data_range=data_range),
        rmse=rmse(prediction, truth, mask),
        data_range=data_range,
    )


def rmse(prediction: Volume, truth: Volume, mask: Mask | None = None) -> float:
    """Root-mean-square error.

    Args:
        prediction: `(i, j, k)`.
        truth: `(i, j, k)`, same units.
        mask: `(i, j, k)`, where to compare; everywhere if None.

    Returns:
        The error in the units of the volumes.

    Raises:
        ValueError: If the shapes differ or the mask is empty.
    """
    _check_pair(prediction, truth, mask)
    difference = prediction.astype(np.float64) - truth
    return math.sqrt(float(np.mean(np.square(difference if mask is None else difference[mask]))))


def psnr(prediction: Volume, truth: Volume, mask: Mask | None = None, *, data_range: float) -> float:
    """Peak signal-to-noise ratio.

    Args:
        prediction: `(i, j, k)`.
        truth: `(i, j, k)`, same units.
        mask: `(i, j, k)`, where to compare; everywhere if None.
        data_range: The peak, in the units of the volumes.

    Returns:
        Decibels; infinite when the volumes are equal.

    Raises:
        ValueError: If the shapes differ, the mask is empty, or the range is not positive.
    """
    if data_range <= 0:
        msg = f"data_range must be positive, got {data_range}; use the range of the true volume."
        raise ValueError(msg)
    error = rmse(prediction, truth, mask)
    return math.inf if error == 0 else 20 * math.log10(data_range / error)


def ssim(prediction: Volume, truth: Volume, mask: Mask | None = None, *, data_range: float) -> float:
    """Mean structural similarity over the windows whose centre lies in a mask and that lie inside the volume.

    Args:
        prediction: `(i, j, k)`, sides >= 7.
        truth: `(i, j, k)`, same units.
        mask: `(i, j, k)`, where to compare; everywhere if None.
        data_range: Range of the volumes, for the constants of SSIM.

    Returns:
        At most 1.

    Raises:
        ValueError: If the shapes differ, a side is shorter than the window, or no window is centred inside.
    """
    _check_pair(prediction, truth, mask)
    window = SSIMWindow(data_range=data_range)
    first, second = (torch.tensor(data, dtype=torch.float32) for data in (prediction, truth))
    similarity = volume_ssim_map(first, second, window).numpy()
    if mask is None:
        return float(similarity.mean(dtype=np.float64))
    margin = window.size // 2
    centres = mask[(slice(margin, -margin),) * 3]
    if not centres.any():
        msg = f"the mask must hold voxels {margin} or more from the rim, got none; use a larger region."
        raise ValueError(msg)
    return float(similarity[centres].mean(dtype=np.float64))


def dilated_mask(mask: Mask, voxels: int) -> Mask:
    """Mask grown by a ball.

    Args:
        mask: `(i, j, k)`.
        voxels: Radius of the ball in voxels, >= 0.

    Returns:
        `(i, j, k)`, true within the radius of a voxel of the mask.

    Raises:
        ValueError: If the radius is negative.
    """
    if voxels < 0:
        msg = f"voxels must be >= 0, got {voxels}; use the slice separation in voxels, rounded up."
        raise ValueError(msg)
    if voxels == 0 or not mask.any():
        return mask.copy()
    # The distance transform of the full grid takes seconds; only the box around the mask can change.
    (inner,) = ndimage.find_objects(mask.astype(np.uint8))
    box = tuple(slice(max(part.start - voxels, 0), part.stop + voxels) for part in inner)
    grown = np.zeros_like(mask)
    grown[box] = ndimage.distance_transform_edt(~mask[box]) <= voxels
    return grown


def _check_pair(prediction: Volume, truth: Volume, mask: Mask | None) -> None:
    shapes = [prediction.shape, truth.shape] + ([] if mask is None else [mask.shape])
    if len(set(shapes)) > 1:
        msg = f"volumes and mask must have one shape, got {shapes}; resample to the grid of the truth first."
        raise ValueError(msg)
    if mask is not None and not mask.any():
        msg = "the mask must hold at least one voxel, got none; check the brain mask."
        raise ValueError(msg)
