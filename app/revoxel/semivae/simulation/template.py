"""The one anatomy that all phantoms are deformed from: nilearn's packaged MNI152 2009a maps, no download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from revoxel.core.geometry import Grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARGIN_MM = 12.0
_LEAST_VOXEL_MM, _MOST_VOXEL_MM = 1.0, 8.0


@dataclass(frozen=True, eq=False)
class TemplateMaps:
    """The template on an isotropic RAS grid around the brain.

    Attributes:
        grid: Of the maps, in MNI millimetres.
        tissues: `(4, i, j, k)` float32: T1 (largest value 1), and shares of WM, GM and CSF.
        brain: `(1, i, j, k)` float32, share of the head inside the skull.
        depth_mm: `(i, j, k)`, distance to the outside of the brain; 0 outside.
    """

    grid: Grid
    tissues: torch.Tensor
    brain: torch.Tensor
    depth_mm: NDArray[np.float32]

    @property
    def voxel_mm(self) -> float:
        """Size of the isotropic voxels."""
        return self.grid.spacing_mm[0]


@lru_cache(maxsize=2)
def template_maps(voxel_mm: float) -> TemplateMaps:
    """Load the template once per process.

    Args:
        voxel_mm: Isotropic voxel size.

    Returns:
        The maps, cut to the brain and a margin of 12 mm.

    Raises:
        ValueError: If the voxels are finer than the template or too coarse for any tumour.
    """
    if not _LEAST_VOXEL_MM <= voxel_mm <= _MOST_VOXEL_MM:
        msg = (
            f"voxel_mm must be from {_LEAST_VOXEL_MM:g} to {_MOST_VOXEL_MM:g}, got {voxel_mm:g}; use 2 or 4."
        )
        raise ValueError(msg)
    t1, gm, wm, source = _native_maps()
    brain = t1 > 0
    target = _grid_around(brain, source, voxel_mm)
    coarse = [resample(one, source, target, order=1, fill=0.0) for one in (t1, wm, gm, brain)]
    share = coarse[3]
    csf = (share - coarse[1] - coarse[2]).clip(0, 1)
    depth_mm = ndimage.distance_transform_edt(share > 0.5, sampling=voxel_mm).astype(np.float32)
    tissues = torch.from_numpy(np.stack([*coarse[:3], csf]))
    return TemplateMaps(target, tissues, torch.from_numpy(share[None]), depth_mm)


def _native_maps() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Grid]:
    from nilearn import datasets

    loaders = (
        datasets.load_mni152_template,
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
    )
    images = [load(resolution=1) for load in loaders]
    t1, gm, wm = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    return t1, gm, wm, Grid(images[0].shape, images[0].affine)


def _grid_around(brain: NDArray[np.bool_], source: Grid, voxel_mm: float) -> Grid:
    """Grid whose middle is that of the brain's box."""
    places = np.argwhere(brain)
    first_mm, last_mm = source.world(places.min(axis=0)), source.world(places.max(axis=0))
    i, j, k = (int(size) for size in np.ceil((last_mm - first_mm + 2 * _MARGIN_MM) / voxel_mm))
    affine = np.diag((voxel_mm, voxel_mm, voxel_mm, 1.0))
    affine[:3, 3] = (first_mm + last_mm) / 2 - voxel_mm * (np.array((i, j, k)) - 1) / 2
    return Grid((i, j, k), affine)
