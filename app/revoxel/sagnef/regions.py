"""Where a result is compared with the truth, and the range that PSNR and SSIM refer to there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from revoxel.core.intensity import foreground_mask
from revoxel.core.metrics import dilated_mask, range_of, score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.core.metrics import Scores


class RegionName(StrEnum):
    """Regions of the tables."""

    FULL = "full volume"
    BRAIN = "brain"
    TUMOUR = "tumour"


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the truth.

    Args:
        name: Short name.
        description: What it holds and what the range is, for the tables.
        mask: `(i, j, k)`; None for everything.
        data_range: Range that PSNR and SSIM refer to, in the units of the truth.
    """

    name: RegionName
    description: str
    mask: NDArray[np.bool_] | None
    data_range: float

    @property
    def label(self) -> str:
        """Name and description in one."""
        return f"{self.name}: {self.description}"

    def score(self, prediction: NDArray[np.float32], truth: NDArray[np.float32]) -> Scores:
        """Score a volume in this region.

        Args:
            prediction: `(i, j, k)`, in the units of the truth.
            truth: `(i, j, k)`.
        """
        return score(prediction, truth, self.mask, data_range=self.data_range)


def margin_voxels(separation_mm: float, spacing_mm: float) -> int:
    """How far the brain is grown: the slice separation in voxels, rounded up.

    Args:
        separation_mm: Distance between slice centres.
        spacing_mm: Voxel size along the slice axis.
    """
    # Headers round: 5 mm over 0.99999 mm are 5 voxels.
    return math.ceil(separation_mm / spacing_mm - 1e-3)


def brain_region(truth: NDArray[np.float32], margin: int) -> Region:
    """The head or brain, grown by the slice separation so that its outline counts.

    Args:
        truth: `(i, j, k)`.
        margin: `margin_voxels` of the case.

    Raises:
        ValueError: If the truth is constant.
    """
    inside = foreground_mask(truth)
    outside = truth[~inside]
    stripped = outside.size > 0 and not bool((outside > np.median(outside)).any())
    kind = "truth above background (skull-stripped)" if stripped else "head by Otsu's threshold"
    mask = dilated_mask(inside, margin)
    description = f"{kind}, grown by {margin} voxels; range = 99.9 percentile of the truth inside"
    return Region(RegionName.BRAIN, description, mask, range_of(truth, mask))


def scored_regions(
    truth: NDArray[np.float32], margin: int, tumour: NDArray[np.bool_] | None = None
) -> list[Region]:
    """All regions of a case.

    Args:
        truth: `(i, j, k)`, cut to the slices that the scan covers.
        margin: `margin_voxels` of the case.
        tumour: `(i, j, k)`; where the tumour is, if known.

    Returns:
        Full volume and brain; the tumour too if there is one.

    Raises:
        ValueError: If the truth is constant.
    """
    brain = brain_region(truth, margin)
    covered = "all that the scan covers; range = maximum of the truth"
    regions = [Region(RegionName.FULL, covered, None, range_of(truth)), brain]
    if tumour is not None and tumour.any():
        # The range of the tumour alone would make its decibels incomparable with the brain's.
        regions.append(Region(RegionName.TUMOUR, "labels > 0; range as brain", tumour, brain.data_range))
    return regions
