"""MONAI dictionary transforms from a file to HU on one isotropic RAS grid.

An image is `(1, x, y, z)` in HU with its affine; `fov` beside it marks the voxels that the scanner measured:
padding, and what lies outside the reconstruction circle, is -1024 HU and not measured. After `ToGridd`,
`fov` is exactly where the image is above -1024 HU, so that a written file still tells it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.transforms import MapTransform, Orientation
from scipy import ndimage

from revoxel.core.geometry import resample
from revoxel.core.meta_images import grid_of, image_on
from revoxel.core.volumes import read_volume
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.scans.grids import check_factor, check_straight, isotropic_target
from revoxel.ct.scans.rescale import check_rescale

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection
    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import NDArray

Data = dict["Hashable", Any]

FOV = "fov"
_HIGHEST_AIR_HU = -500.0
_NEIGHBOURHOOD = np.ones((3, 3, 3), dtype=bool)
_RAS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def _name_of(image: Any, key: Hashable) -> str:
    return f"{key} ({getattr(image, 'meta', {}).get('filename_or_obj', 'in memory')})"


def measured(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark the voxels that a scanner measured.

    Args:
        hu: `(x, y, z)` as read.

    Returns:
        False below -1024 HU, where -1024 fills a whole neighbourhood, as padding does and noise does not, and
        in planes at the faces that hold nothing else.
    """
    padding = hu <= PADDING_HU
    if not padding.any() or padding.all():
        return ~padding
    inside = ~((hu < PADDING_HU) | ndimage.binary_opening(padding, _NEIGHBOURHOOD))
    box = ndimage.find_objects((~padding).view(np.int8))[0]
    result = np.zeros_like(inside)
    result[box] = inside[box]
    return result


class LoadCTd(MapTransform):
    """Read a CT in HU, in RAS: NIfTI, MetaImage, NRRD, or the folder of a DICOM series.

    Values below -1024 HU become -1024. `fov` is written, and to the image's `meta`: `filename_or_obj`,
    `outside_share` (voxels not measured), `below_padding_share`, `spacing_mm`, `thickness_mm` and `notes`.

    Args:
        keys: Where the paths are; images take their place.
        fov_key: Where the mask of measured voxels goes; of the last key, if there are several.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(self, keys: KeysCollection, fov_key: str = FOV, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.fov_key = fov_key
        self.orient = Orientation(axcodes="RAS", labels=_RAS_LABELS)

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Read the files.

        Args:
            data: Item with paths.

        Returns:
            Item with images and `fov`.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If it is no 3D CT in HU with perpendicular axes.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            path = Path(item[key])
            check_rescale(path)
            volume = read_volume(path)
            check_straight(volume.grid, str(path))
            inside = measured(volume.data)
            image = self.orient(image_on(np.maximum(volume.data, PADDING_HU)[None], volume.grid))
            image.meta |= {
                "filename_or_obj": str(path),
                "outside_share": 1.0 - float(inside.mean()),
                "below_padding_share": float((volume.data < PADDING_HU).mean()),
                "spacing_mm": grid_of(image).spacing_mm,
                "thickness_mm": volume.thickness_mm,
                "notes": list(volume.notes),
            }
            item |= {key: image, self.fov_key: self.orient(image_on(inside[None], volume.grid))}
        return item


class CheckCTd(MapTransform):
    """Refuse what is no CT in HU before it spoils a training or a result.

    Args:
        keys: Images to look at.
        allow_no_air: Accept a volume without air, such as a crop inside the body.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(
        self, keys: KeysCollection, *, allow_no_air: bool = False, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.allow_no_air = allow_no_air

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Check the images and pass them on.

        Args:
            data: Item with images.

        Returns:
            The same item.

        Raises:
            ValueError: If an image is not one finite 3D channel, or its values cannot be HU.
        """
        for key in self.key_iterator(dict(data)):
            check_hu(np.asarray(data[key]), _name_of(data[key], key), allow_no_air=self.allow_no_air)
        return dict(data)


def check_hu(image: NDArray[Any], name: str, *, allow_no_air: bool = False) -> None:
    """Refuse an array that cannot be a CT in HU.

    Args:
        image: `(1, x, y, z)`.
        name: What a reader knows it by.
        allow_no_air: Accept values without air.

    Raises:
        ValueError: If the shape is another, a value is not finite, or there is no air.
    """
    if image.ndim != 4 or image.shape[0] != 1:
        msg = (
            f"{name} must be one 3D channel (1, x, y, z), got {image.shape}; give one volume of one channel."
        )
        raise ValueError(msg)
    n_bad = image.size - int(np.isfinite(image).sum())
    if n_bad:
        msg = f"{name} must be finite, got {n_bad} NaN or infinite voxels; replace them before use."
        raise ValueError(msg)
    lowest_hu = float(np.percentile(image, 1))
    if lowest_hu >= _HIGHEST_AIR_HU and not allow_no_air:
        stored = "these look like stored values, subtract 1024; " if image.min() >= 0 else ""
        msg = (
            f"{name} must hold air (first percentile below {_HIGHEST_AIR_HU:g} HU), got {lowest_hu:g}; "
            f"{stored}give HU, or allow volumes without air (--allow-no-air)."
        )
        raise ValueError(msg)


class ToGridd(MapTransform):
    """Bring images onto one isotropic grid, pad with -1024 HU or crop around the middle.

    Cubic B-splines after a Gaussian that keeps fine structure from aliasing onto a coarser grid, which
    MONAI's `Spacingd` has not; values stay in the range of the image. At unchanged spacing nothing is
    interpolated.

    Args:
        keys: Images on the grid of `fov`.
        spacing_mm: Voxel size of the result.
        size: Voxels along every axis; `None` keeps all of the volume, padded to a multiple of `factor`.
        factor: What the sides are divisible by.
        fov_key: Mask of measured voxels; made anew if the item has none.
        allow_missing_keys: Skip absent keys.

    Raises:
        ValueError: If the spacing is not positive, or `size` is no multiple of `factor`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: float,
        size: int | None = None,
        *,
        factor: int = 4,
        fov_key: str = FOV,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        check_factor(factor)
        if not 0 < spacing_mm < np.inf:
            msg = f"spacing_mm must be a positive length in mm, got {spacing_mm:g}; use 1.5."
            raise ValueError(msg)
        if size is not None and (size < factor or size % factor):
            msg = (
                f"size must be divisible by the factor {factor}, got {size}; use 256, or None for all of it."
            )
            raise ValueError(msg)
        self.spacing_mm, self.size, self.factor, self.fov_key = spacing_mm, size, factor, fov_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Resample the images.

        Args:
            data: Item with images.

        Returns:
            Item with images and `fov` on the new grid.

        Raises:
            ValueError: If the axes are sheared, or the grid would hold nothing that was measured.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            check_straight(grid_of(image), _name_of(image, key))
            item[key], item[self.fov_key] = self._moved(image, item.get(self.fov_key), _name_of(image, key))
        return item

    def _moved(self, image: MetaTensor, fov: MetaTensor | None, name: str) -> tuple[MetaTensor, MetaTensor]:
        source, hu = grid_of(image), np.asarray(image, dtype=np.float32)[0]
        inside = measured(hu) if fov is None else np.asarray(fov, dtype=bool)[0]
        target = isotropic_target(source, self.spacing_mm, self.size, self.factor)
        # Half measured is measured: a stricter rule would peel a layer off scans that need no resampling.
        kept = resample(inside.astype(np.float32), source, target, order=1, fill=0.0, antialias=False) > 0.5
        if not kept.any():
            msg = f"{name} must hold measured voxels on the new grid, got only padding; enlarge size."
            raise ValueError(msg)
        moved = resample(hu, source, target, fill=PADDING_HU).clip(hu.min(), hu.max())
        moved = np.where(kept, np.maximum(moved, PADDING_HU + 1), np.float32(PADDING_HU))
        result = image_on(moved[None], target)
        result.meta |= {k: v for k, v in image.meta.items() if k not in result.meta}
        return result, image_on(kept[None], target)


LoadCTD = LoadCTDict = LoadCTd
CheckCTD = CheckCTDict = CheckCTd
ToGridD = ToGridDict = ToGridd
