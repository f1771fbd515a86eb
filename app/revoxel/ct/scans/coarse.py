"""The coarse volume that a fine CT is refined from in training: block means, blurred or corrupted."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

from revoxel.core.meta_images import grid_of, image_on
from revoxel.ct.consistency import block_mean
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.scans.grids import check_divisible, check_factor, coarsened
from revoxel.ct.smooth import blurred, smooth_error

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

#: RMS error of the corrupted coarse volume, about that of a regression from two X-rays' low frequencies.
ERROR_HU = 100.0
_FIELD_WIDTH_MM = 20.0
_BLUR_MM = 2.5


class CoarseMode(StrEnum):
    """How a coarse volume is made."""

    #: Mean of every block.
    AREA = "area"
    #: Gaussian blur, then the mean of every block.
    BLUR = "blur"
    #: Mean of every block plus a smooth random error, as a regression from few X-rays makes it.
    CORRUPT = "corrupt"


class MakeCoarsed(RandomizableTransform, MapTransform):
    """Make a coarse volume of a fine one; `corrupt` draws its error from the transform's random state.

    Args:
        keys: Fine images in HU with sides divisible by `factor`.
        coarse_key: Where the coarse image goes; of the last key, if there are several.
        factor: Coarse spacing over fine spacing, 2 or 4.
        mode: How it is made.
        blur_mm: Standard deviation of `blur`.
        error_hu: Root mean square of the error of `corrupt`.

    Raises:
        ValueError: If factor, mode or an amount is none of these.
    """

    def __init__(
        self,
        keys: KeysCollection,
        coarse_key: str = "coarse",
        factor: int = 4,
        mode: CoarseMode | str = CoarseMode.AREA,
        *,
        blur_mm: float = _BLUR_MM,
        error_hu: float = ERROR_HU,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self)
        check_factor(factor)
        if mode not in set(CoarseMode):
            msg = f"mode must be one of {', '.join(CoarseMode)}, got {mode!r}; choose one."
            raise ValueError(msg)
        if not (0 <= blur_mm < np.inf and 0 <= error_hu < np.inf):
            msg = f"blur_mm and error_hu must be finite and not negative, got {blur_mm:g} and {error_hu:g}; "
            msg += "correct them."
            raise ValueError(msg)
        self.coarse_key, self.factor, self.mode = coarse_key, factor, CoarseMode(mode)
        self.blur_mm, self.error_hu = blur_mm, error_hu

    def randomize(self, data: Any = None) -> None:
        """Draw the seed of the error.

        Args:
            data: Unused.
        """
        super().randomize(data)
        self._seed = int(self.R.randint(2**31))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make the coarse image.

        Args:
            data: Item with fine images.

        Returns:
            Item with the coarse image on its own grid.

        Raises:
            ValueError: If a side is not divisible by the factor.
        """
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            grid = grid_of(item[key])
            check_divisible(grid.shape, self.factor, str(key))
            fine = torch.as_tensor(np.asarray(item[key], dtype=np.float32))[None]
            if self.mode is CoarseMode.BLUR:
                fine = blurred(fine, [self.blur_mm / spacing_mm for spacing_mm in grid.spacing_mm])
            coarse = block_mean(fine, self.factor)
            target = coarsened(grid, self.factor)
            if self.mode is CoarseMode.CORRUPT:
                coarse = (coarse + self._error(coarse, target.spacing_mm)).clamp(min=PADDING_HU)
            item[self.coarse_key] = image_on(coarse[0].numpy(), target)
        return item

    def _error(self, coarse: torch.Tensor, spacing_mm: tuple[float, float, float]) -> torch.Tensor:
        """Smooth field of root mean square `error_hu`."""
        sigma_voxels = [_FIELD_WIDTH_MM / step_mm for step_mm in spacing_mm]
        return smooth_error(tuple(coarse.shape[2:]), sigma_voxels, self.error_hu, self._seed)


MakeCoarseD = MakeCoarseDict = MakeCoarsed
