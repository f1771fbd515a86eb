"""Detail added to a CT that has its final size already, guided by X-ray views where there are any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from revoxel.ct.consistency import block_mean
from revoxel.ct.detail.inference import refine_detail
from revoxel.ct.evaluation.scores import LOW_PASS_FACTOR
from revoxel.ct.refinement.steps import Result, as_tensor, as_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.ct.detail.models import Refiner
    from revoxel.ct.refinement.views import SettledViews


def add_details(
    refiner: Refiner, coarse_hu: NDArray[np.float32], grid: Grid, views: SettledViews | None
) -> Result:
    """Refine a volume without changing its grid.

    Args:
        refiner: The network.
        coarse_hu: `(x, y, z)` in HU, RAS.
        grid: Its grid.
        views: Of the patient, or none.

    Returns:
        The volume; its consistency is that of means over 4 x 4 x 4 voxels.

    Raises:
        ValueError: If a side is not divisible by 4.
    """
    if any(side % LOW_PASS_FACTOR for side in coarse_hu.shape):
        msg = f"sides must be divisible by {LOW_PASS_FACTOR}, got {coarse_hu.shape}; crop or pad the scan."
        raise ValueError(msg)
    geometry = refiner.scene.geometry if views is None else views.geometry
    # Geometry is a fact about the scan, not something learned: that of the scan holds.
    refiner.network.scene = replace(refiner.scene, spacing_mm=grid.spacing_mm, geometry=geometry)
    coarse = as_tensor(coarse_hu)
    made = refine_detail(refiner.network, coarse, None if views is None else views.nepers)
    refined = np.rint(as_volume(made.volume_hu)).astype(np.int16)
    difference = (block_mean(made.volume_hu) - block_mean(coarse)).abs()
    return Result(
        refined,
        np.rint(refined - coarse_hu).astype(np.int16),
        float(difference.mean()),
        float(difference.max()),
        made.clipped_share,
    )
