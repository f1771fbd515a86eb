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


def score(
    prediction: Volume, truth: Volume, mask: Mask | None = None, *, data_range: float | None = None
) -> Scores:
    """Score a volume against the truth.

    Args:
        prediction: `(i, j, k)`, in the units of `truth`.
        truth: `(i, j, k)`, on the same grid.
        mask: `(i, j, k)`, where to compare; None compares the full volume.
        data_range: The range that PSNR and SSIM refer to; `range_of(truth, mask)` by default.

    Returns:
        The scores with their range.

    Raises:
        ValueError: If the shapes differ, the mask is empty, or the range is not positive.
    """
    _check_pair(prediction, truth, mask)
    if data_range is None:
        data_range = range_of(truth, mask)
    error = rmse(prediction, truth, mask)
    return Scores(
        psnr_db=_decibels(error, data_range),
        ssim=ssim(prediction, truth, mask, data_range=data_range),
        rmse=error,
        data_range=data_range,
    )


def range_of(truth: Volume, mask: Mask | None = None) -> float:
    """The range that scores refer to: robust in a region, the maximum over the full volume.

    Args:
        truth: `(i, j, k)`.
        mask: `(i, j, k)`, not empty; None for the full volume.

    Returns:
        The 99.9th percentile of the truth inside the mask, or its maximum.
    """
    return float(truth.max() if mask is None else np.percentile(truth[mask], _RANGE_PERCENTILE))


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
    first, second = (prediction, truth) if mask is None else (prediction[mask], truth[mask])
    difference = np.subtract(first, second, dtype=np.float64).ravel()
    return math.sqrt(float(difference @ difference) / difference.size)


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
    return _decibels(rmse(prediction, truth, mask), data_range)


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
    margin = window.size // 2
    centres = None if mask is None else mask[(slice(margin, -margin),) * 3]
    if centres is None:
        return float(_similarity(prediction, truth, window).mean(dtype=np.float64))
    if not centres.any():
        msg = f"the mask must hold voxels {margin} or more from the rim, got none; use a larger region."
        raise ValueError(msg)
    box = _box(centres)
    seen = tuple(slice(part.start, part.stop + 2 * margin) for part in box)
    return float(_similarity(prediction[seen], truth[seen], window)[centres[box]].mean(dtype=np.float64))


def _similarity(prediction: Volume, truth: Volume, window: SSIMWindow) -> Volume:
    first, second = (torch.tensor(data, dtype=torch.float32) for data in (prediction, truth))
    return volume_ssim_map(first, second, window).numpy()


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
    box = _box(mask, voxels)
    inner = mask[box]
    grown = np.zeros_like(mask)
    # A ball is a bundle of lines along the last axis: much faster than a distance transform for small radii.
    for half_length, offsets in _ball_lines(voxels).items():
        line = ndimage.maximum_filter1d(inner, 2 * half_length + 1, axis=-1, mode="constant")
        for offset in offsets:
            target, source = _shifted(offset, inner.shape)
            grown[box][target] |= line[source]
    return grown


def _ball_lines(radius: int) -> dict[int, list[tuple[int, int]]]:
    """Offsets in the first two axes of the lines that fill a ball, by the half length of the line."""
    lines: dict[int, list[tuple[int, int]]] = {}
    for first in range(-radius, radius + 1):
        for second in range(-radius, radius + 1):
            rest = radius**2 - first**2 - second**2
            if rest >= 0:
                lines.setdefault(math.isqrt(rest), []).append((first, second))
    return lines


def _shifted(offset: tuple[int, int], shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Parts of a volume and of its copy moved by an offset that overlap."""
    sides = zip(offset, shape[:2], strict=True)
    starts = [(max(0, step), min(side, side + step)) for step, side in sides]
    target = tuple(slice(start, max(start, stop)) for start, stop in starts)
    source = tuple(
        slice(part.start - step, part.stop - step) for part, step in zip(target, offset, strict=True)
    )
    return target, source


def _box(mask: Mask, margin: int = 0) -> tuple[slice, ...]:
    """Box around a mask that is not empty, with a margin, cut at the rim of the volume."""
    (inner,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(part.start - margin, 0), part.stop + margin) for part in inner)


def _decibels(error: float, data_range: float) -> float:
    if data_range <= 0:
        msg = f"data_range must be positive, got {data_range}; use the range of the true volume."
        raise ValueError(msg)
    return math.inf if error == 0 else 20 * math.log10(data_range / error)


def _check_pair(prediction: Volume, truth: Volume, mask: Mask | None) -> None:
    shapes = [prediction.shape, truth.shape] + ([] if mask is None else [mask.shape])
    if len(set(shapes)) > 1:
        msg = f"volumes and mask must have one shape, got {shapes}; resample to the grid of the truth first."
        raise ValueError(msg)
    if mask is not None and not mask.any():
        msg = "the mask must hold at least one voxel, got none; check the brain mask."
        raise ValueError(msg)
