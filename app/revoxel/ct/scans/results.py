"""MONAI dictionary transforms from what a network gives to HU on the right grid, and the file of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import MapTransform

from revoxel.core.meta_images import grid_of
from revoxel.core.volumes import RESEARCH_USE, write_volume
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.scans.grids import check_factor, upscaled

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

    from monai.config import KeysCollection
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid


class UpscaleAffined(MapTransform):
    """Give a refined image the affine of its voxels; after a network it still has its input's.

    The origin moves by `-(factor - 1) / (2 factor)` coarse voxels along each axis: -3/8 at factor 4.

    Args:
        keys: Refined images, `factor` times as large as the coarse one.
        factor: Coarse spacing over fine spacing, 2 or 4.
        coarse_key: The coarse image that they were made of.

    Raises:
        ValueError: If the factor is neither 2 nor 4.
    """

    def __init__(self, keys: KeysCollection, factor: int = 4, coarse_key: str = "coarse") -> None:
        super().__init__(keys)
        check_factor(factor)
        self.factor, self.coarse_key = factor, coarse_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the affines.

        Args:
            data: Item with refined images and the coarse one.

        Returns:
            Item with refined images where they lie.

        Raises:
            ValueError: If an image is not `factor` times as large as the coarse one.
        """
        item = dict(data)
        grid = upscaled(grid_of(item[self.coarse_key]), self.factor)
        for key in self.key_iterator(item):
            image = torch.as_tensor(item[key])
            if tuple(image.shape[1:]) != grid.shape:
                msg = (
                    f"{key} must be {self.factor} times as large as {self.coarse_key}, {grid.shape}, got "
                    f"{tuple(image.shape[1:])}; refine the whole coarse volume."
                )
                raise ValueError(msg)
            plain = image.as_tensor() if isinstance(image, MetaTensor) else image
            item[key] = MetaTensor(plain, affine=torch.from_numpy(grid.affine.copy()))
        return item


class RestoreHUd(MapTransform):
    """Turn what a network gives into whole HU, int16; what lay outside the window is clipped and counted.

    `{key}_clipped_share` says which share of the voxels that was.

    Args:
        keys: Images in the network's units, 0 to 1 over the window.
        window: The window that the network was trained with.
    """

    def __init__(self, keys: KeysCollection, window: HounsfieldWindow | None = None) -> None:
        super().__init__(keys)
        self.window = window or HounsfieldWindow()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Restore the images.

        Args:
            data: Item with images.

        Returns:
            Item with int16 images in HU.

        Raises:
            ValueError: If a voxel is not finite.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            hu = self.window.restore(torch.as_tensor(item[key]).float())
            if not bool(torch.isfinite(hu).all()):
                msg = f"{key} must be finite, got NaN or infinity; train or load the network again."
                raise ValueError(msg)
            item[f"{key}_clipped_share"] = self.window.clipped_share(hu)
            item[key] = self.window.clip(hu).round().to(torch.int16)
        return item


def write_hu(
    path: Path | str,
    hu: NDArray[Any],
    grid: Grid,
    *,
    overwrite: bool = False,
    description: str = f"CT in HU, derived; {RESEARCH_USE}",
) -> Path:
    """Write a CT as int16 NIfTI, whole or not at all.

    Args:
        path: `.nii` or `.nii.gz`.
        hu: `(x, y, z)`, HU; rounded to whole ones.
        grid: Its voxel grid.
        overwrite: Replace a file that exists.
        description: Text for the header, cut at 79 bytes.

    Returns:
        `path`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        OSError: If it cannot be written; nothing is left behind.
        ValueError: If `hu` does not fit the grid, is not finite, or exceeds int16.
    """
    return write_volume(path, hu, grid, overwrite=overwrite, description=description, dtype=np.int16)


UpscaleAffineD = UpscaleAffineDict = UpscaleAffined
RestoreHUD = RestoreHUDict = RestoreHUd
