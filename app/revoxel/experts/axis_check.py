"""Which axes of a volume are truly high-resolution, and which were acquired thick and interpolated?

Each axis is blurred threefold and restored by cubic B-spline: an axis that loses much less than the others
had nothing to lose. Beside it stands the log ratio of second differences, the entry test for reference
volumes. Both look inside the tissue only: the rim of a stripped brain was cut on the fine grid, whatever
the scanner did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from revoxel.core.geometry import MIN_ANISOTROPY, resample
from revoxel.core.intensity import foreground_mask
from revoxel.core.metrics import psnr
from revoxel.core.volumes import Volume
from revoxel.experts.axis_energy import centred, difference
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate

BLUR_FACTOR = 3.0
EASIER_BY_DB = 5.0
MAX_LOG_RATIO = 0.3
THICK_LOG_RATIO = -0.6
_MIN_VOXELS = 9
_TINY = 1e-30
_RIM_VOXELS = 3
_MIN_INNER_SHARE = 0.2
_RANGE_PERCENTILE = 99.9


Three = tuple[float, float, float]


class Detail(StrEnum):
    """How much detail one axis holds, compared with the other two."""

    FINE = "fine"
    DOUBTFUL = "doubtful"
    THICK = "thick"


@dataclass(frozen=True)
class AxisCheck:
    """How much detail a volume holds along each array axis.

    Args:
        spacing_mm: Voxel size per axis, from the header.
        psnr_db: Loss by blurring threefold and restoring, per axis; high = little detail.
        log_ratio: Log of the RMS second difference over that of the other two axes, per axis.
        detail: Judgement per axis. `fine` passes the entry test for reference volumes (log ratio above -0.3).
        verdict: One sentence.
    """

    spacing_mm: Three
    psnr_db: Three
    log_ratio: Three
    detail: tuple[Detail, Detail, Detail]
    verdict: str

    @property
    def thick_axes(self) -> tuple[int, ...]:
        """Axes that hold too little detail, or that the header calls coarse."""
        return tuple(axis for axis in range(3) if self.detail[axis] is Detail.THICK)


def axis_check(volume: Volume) -> AxisCheck:
    """Compare the detail along the three axes.

    Args:
        volume: Any 3D volume with at least 9 voxels per axis.

    Returns:
        Numbers and judgement per axis. Voxel sizes that differ are judged by the header.

    Raises:
        ValueError: If the volume is too small to judge, or constant.
    """
    if min(volume.data.shape) < _MIN_VOXELS:
        msg = (
            f"axis check needs at least {_MIN_VOXELS} voxels per axis, got shape {volume.data.shape}; "
            "give a whole volume."
        )
        raise ValueError(msg)
    tissue = _inner_tissue(volume.data)
    psnr_db = (
        _restored_psnr_db(volume, 0, tissue),
        _restored_psnr_db(volume, 1, tissue),
        _restored_psnr_db(volume, 2, tissue),
    )
    log_ratio = _log_ratios(volume.data, tissue)
    coarse = [size_mm >= MIN_ANISOTROPY * min(volume.grid.spacing_mm) for size_mm in volume.grid.spacing_mm]
    details = [_judge(axis, psnr_db, log_ratio) for axis in range(3)]
    if any(coarse):
        details = [Detail.THICK if is_coarse else Detail.FINE for is_coarse in coarse]
    verdict = _verdict(details, anisotropic=any(coarse))
    return AxisCheck(
        volume.grid.spacing_mm, psnr_db, log_ratio, (details[0], details[1], details[2]), verdict
    )


def _inner_tissue(data: NDArray[np.float32]) -> NDArray[np.bool_]:
    tissue = foreground_mask(data)
    inner = ndimage.binary_erosion(tissue, iterations=_RIM_VOXELS)
    return inner if inner.sum() > _MIN_INNER_SHARE * tissue.sum() else tissue


def _restored_psnr_db(volume: Volume, axis: int, tissue: NDArray[np.bool_]) -> float:
    thick_mm = BLUR_FACTOR * volume.grid.spacing_mm[axis]
    thick = simulate(volume, profile=SliceProfile.gauss(thick_mm), separation_mm=thick_mm, axis=axis)
    restored = resample(thick.data, thick.grid, volume.grid)
    data_range = float(np.percentile(volume.data[tissue], _RANGE_PERCENTILE))
    return psnr(restored, volume.data, tissue, data_range=data_range)


def _log_ratios(data: NDArray[np.float32], tissue: NDArray[np.bool_]) -> Three:
    log_rms = np.array([_log_rms(data, tissue, axis) for axis in range(3)])
    first, second, third = 1.5 * (log_rms - log_rms.mean())  # log of one over the mean log of the others
    return float(first), float(second), float(third)


def _log_rms(data: NDArray[np.float32], tissue: NDArray[np.bool_], axis: int) -> float:
    rough = centred(difference(data, 2, axis), 2, axis)[tissue]
    return 0.5 * float(np.log(np.mean(rough**2, dtype=np.float64) + _TINY))


def _judge(axis: int, psnr_db: Three, log_ratio: Three) -> Detail:
    others = [psnr_db[other] for other in range(3) if other != axis]
    if psnr_db[axis] - median(others) >= EASIER_BY_DB or log_ratio[axis] < THICK_LOG_RATIO:
        return Detail.THICK
    return Detail.FINE if log_ratio[axis] >= -MAX_LOG_RATIO else Detail.DOUBTFUL


def _verdict(details: list[Detail], *, anisotropic: bool) -> str:
    thick = [axis for axis in range(3) if details[axis] is Detail.THICK]
    doubtful = [axis for axis in range(3) if details[axis] is Detail.DOUBTFUL]
    if anisotropic:
        return f"thick slices along {_axes(thick)} by the header: input for super-resolution, no reference."
    if thick:
        return f"acquired thick along {_axes(thick)} and interpolated: do not use as reference along it."
    if doubtful:
        return f"somewhat smoother along {_axes(doubtful)}: a doubtful reference along it."
    return "truly high-resolution along all three axes."


def _axes(axes: list[int]) -> str:
    return "axis " + " and ".join(str(axis) for axis in axes)
