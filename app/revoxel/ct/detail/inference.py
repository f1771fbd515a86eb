"""Refine one coarse CT with a trained detail network, in HU, and say how well it still fits its X-rays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from revoxel.core.iterations import Precision
from revoxel.ct.consistency import block_mean, project_onto_coarse
from revoxel.ct.xray.agreement import reprojection_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from revoxel.ct.detail.network import DetailRefiner3D

_LOW_PASS = 4


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined volume and what was checked.

    Attributes:
        volume_hu: `(B, 1, X, Y, Z)`, inside the window.
        added_detail_hu: Refined less coarse.
        clipped_share: Voxels cut to the window.
        reprojection_coarse: Errors of the coarse volume against the views; empty without views.
        reprojection_refined: Those of the refined volume.
    """

    volume_hu: Tensor
    added_detail_hu: Tensor
    clipped_share: float
    reprojection_coarse: Mapping[str, float]
    reprojection_refined: Mapping[str, float]


@torch.no_grad()
def refine_detail(
    network: DetailRefiner3D,
    coarse_hu: Tensor,
    views: Tensor | None = None,
    *,
    precision: Precision | None = None,
) -> Refined:
    """Add details to a coarse CT.

    With `consistency="lowpass4"` the means of 4^3 voxels are those of the coarse volume, exactly, inside the
    window; a coarse volume that is wrong stays wrong there.

    Args:
        network: In evaluation mode; its scene says voxel size, X-ray geometry and window.
        coarse_hu: `(B, 1, X, Y, Z)` in HU at the voxel size of the scene.
        views: `(B, 2, 1, row, column)` in nepers, frontal first.
        precision: Number format; the fastest of the device by default.

    Returns:
        The refined volume and its checks.

    Raises:
        ValueError: If a shape does not fit: sides must be divisible by 4 with `lowpass4`, else by the fold.
    """
    window, scene = network.scene.window, network.scene
    device = next(network.parameters()).device
    coarse = coarse_hu.float().to(device)
    precision = precision or Precision()
    with precision.autocast(device):
        raw_hu = window.restore(network(precision.layout(window.normalise(coarse)), views))
    refined = window.clip(raw_hu)
    if network.consistency != "none":
        refined = project_onto_coarse(raw_hu, block_mean(coarse, _LOW_PASS), window=window)
    coarse, refined = coarse.cpu(), refined.cpu()
    before, after = (
        {} if views is None else reprojection_error(volume, views.cpu(), scene.spacing_mm, scene.geometry)
        for volume in (coarse, refined)
    )
    return Refined(refined, refined - coarse, window.clipped_share(raw_hu), before, after)
