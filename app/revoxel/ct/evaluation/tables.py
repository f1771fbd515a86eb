"""Scores as tables for people: every PSNR under the name of its peak."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Heading and digits by score; `2500 dB` is PSNR with a peak of 2500 HU.
COLUMNS = {
    "rmse_hu": ("RMSE HU", 1),
    "mae_hu": ("MAE HU", 1),
    "psnr_2500_db": ("2500 dB", 2),
    "psnr_4095_db": ("4095 dB", 2),
    "psnr_2048_db": ("2048 dB", 2),
    "psnr_400window_db": ("400w dB", 2),
    "ssim": ("SSIM", 3),
    "consistency_max_hu": ("cons. HU", 2),
}


def score_row(scores: Mapping[str, float | None]) -> dict[str, str]:
    """Scores as text by heading.

    Args:
        scores: From `score_ct`, or as a record gives them back: without infinite values.
    """
    return {heading: _cell(scores[key], digits) for key, (heading, digits) in COLUMNS.items()}


def _cell(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isfinite(value) else "exact"
