"""Errors of a CT in HU, and PSNR with every peak that the field uses, each under its own name.

A peak twice as large gives 6.02 dB for nothing, and a wider window hides errors: decibels are comparable
only within one definition. `PEAKS` holds the four, and a table never shows one without its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.core.metrics import psnr, rmse, ssim
from revoxel.ct.consistency import block_mean
from revoxel.ct.hounsfield import HounsfieldWindow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Volume = NDArray[np.float32]
    Mask = NDArray[np.bool_]

#: Side of the blocks by which volumes of one size are compared at low resolution.
LOW_PASS_FACTOR = 4


@dataclass(frozen=True)
class Peak:
    """A definition of PSNR.

    Attributes:
        window: Prediction and truth are cut to it first.
        peak_hu: What the error is compared with.
        meaning: Who uses it.
    """

    window: HounsfieldWindow
    peak_hu: float
    meaning: str


#: Window of RMSE, MAE, SSIM and of the gain over baselines.
FIGURE_WINDOW = HounsfieldWindow(-1024.0, 1024.0)
_WIDE = HounsfieldWindow(-1024.0, 1476.0)
FIGURE_KEY = "psnr_2048_db"
PEAKS = {
    "psnr_2500_db": Peak(_WIDE, 2500.0, "window -1024..1476 HU, peak 2500 HU"),
    "psnr_4095_db": Peak(_WIDE, 4095.0, "the same errors, peak 4095 HU: 4.29 dB more for nothing"),
    FIGURE_KEY: Peak(FIGURE_WINDOW, FIGURE_WINDOW.width_hu, "window -1024..1024 HU, peak 2048 HU"),
    "psnr_400window_db": Peak(HounsfieldWindow(-200.0, 200.0), 400.0, "window -200..200 HU, peak 400 HU"),
}
KEYS = ("rmse_hu", "mae_hu", *PEAKS, "ssim", "consistency_max_hu")


def score_ct(pred_hu: Volume, truth_hu: Volume, coarse_hu: Volume, mask: Mask) -> dict[str, float]:
    """Score a refined CT against the truth inside the original field of view.

    Args:
        pred_hu: `(x, y, z)` in HU, as it would be written: not cut to any window.
        truth_hu: `(x, y, z)` in HU, same grid.
        coarse_hu: What was refined, `(x / f, y / f, z / f)` in HU; f may be 1.
        mask: `(x, y, z)`, the field of view.

    Returns:
        `KEYS`: RMSE, MAE and SSIM in the window -1024..1024 HU, PSNR by definition (see `PEAKS`), and the
        largest difference between a coarse voxel and the mean of its block. Where coarse and refined are of
        one size, the means of 4 x 4 x 4 voxels of both are compared.

    Raises:
        ValueError: If shapes do not fit, the mask is empty, or a side is below the window of SSIM.
    """
    pred, truth = FIGURE_WINDOW.clip(pred_hu), FIGURE_WINDOW.clip(truth_hu)
    return {
        "rmse_hu": rmse(pred, truth, mask),
        "mae_hu": float(np.abs(pred[mask] - truth[mask]).mean(dtype=np.float64)),
        **{key: psnr_hu(pred_hu, truth_hu, mask, peak) for key, peak in PEAKS.items()},
        "ssim": ssim(pred, truth, mask, data_range=FIGURE_WINDOW.width_hu),
        "consistency_max_hu": consistency_max_hu(pred_hu, coarse_hu, mask),
    }


def psnr_hu(pred_hu: Volume, truth_hu: Volume, mask: Mask, peak: Peak) -> float:
    """PSNR under one definition.

    Args:
        pred_hu: `(x, y, z)` in HU.
        truth_hu: `(x, y, z)` in HU.
        mask: `(x, y, z)`, where to compare.
        peak: The definition.

    Returns:
        Decibels; infinite where both are equal.
    """
    window = peak.window
    return psnr(window.clip(pred_hu), window.clip(truth_hu), mask, data_range=peak.peak_hu)


def consistency_max_hu(pred_hu: Volume, coarse_hu: Volume, mask: Mask) -> float:
    """Largest difference between a coarse voxel and the mean of its block, over blocks inside the mask.

    Args:
        pred_hu: `(x, y, z)` in HU.
        coarse_hu: `(x / f, y / f, z / f)` in HU.
        mask: `(x, y, z)`.

    Returns:
        HU; 0 where no block lies inside the mask.

    Raises:
        ValueError: If the sides do not fit.
    """
    factor = factor_between(pred_hu.shape, coarse_hu.shape)
    if factor == 1:
        factor, coarse_hu = LOW_PASS_FACTOR, _block_means(coarse_hu, LOW_PASS_FACTOR)
    whole = _block_means(mask, factor) == 1
    difference = np.abs(_block_means(pred_hu, factor) - coarse_hu)[whole]
    return float(difference.max(initial=0.0))


def whole_blocks(fov: Mask, factor: int) -> Mask:
    """Keep of a field of view only blocks that lie inside it: others have a coarse voxel mixed with padding.

    Args:
        fov: `(x, y, z)`, sides divisible by `factor`.
        factor: Side of a block in voxels.
    """
    whole = _block_means(fov, factor) == 1
    return np.kron(whole, np.ones((factor, factor, factor), dtype=bool))


def factor_between(fine: tuple[int, ...], coarse: tuple[int, ...]) -> int:
    """How many fine voxels lie along a coarse one.

    Args:
        fine: Shape of the refined volume.
        coarse: Shape of the coarse one.

    Returns:
        The factor, >= 1.

    Raises:
        ValueError: If the shapes have no common factor.
    """
    factor = fine[0] // coarse[0]
    if factor < 1 or any(side != factor * low for side, low in zip(fine, coarse, strict=True)):
        msg = f"refined sides must be one multiple of the coarse sides, got {fine} for {coarse}; crop them."
        raise ValueError(msg)
    return factor


def _block_means(volume: NDArray[Any], factor: int) -> Volume:
    tensor = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None, None]
    means: Volume = block_mean(tensor, factor)[0, 0].numpy()
    return means
