"""What the two-view bundle's inference does beside MONAI's transforms: find views, place the volume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import MapTransform

from revoxel.core.one_line import one_line_errors
from revoxel.ct.xray.view_files import SUFFIXES, VIEW_ENDINGS, ViewsUnit, views_beside
from revoxel.ct.xray.views import ViewOptions, load_views, require_nepers

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

    from revoxel.ct.detail.lifting import XrayScene

_UNSCALED = (".png", ".dcm")


def view_items(folder: str | Path | None) -> list[dict[str, str]]:
    """Patients of a folder of views as MONAI items, by name.

    Args:
        folder: Where `<id>_pa_drr.*` and `<id>_lat_drr.*` lie.

    Raises:
        SystemExit: With one line, if there is none.
    """
    if folder is None:
        return []
    frontal = VIEW_ENDINGS[0]
    names = {
        path.name.rsplit(frontal, 1)[0]
        for path in Path(folder).glob(f"*{frontal}.*")
        if path.name.endswith(SUFFIXES)
    }
    if not names:
        with one_line_errors():
            msg = f"dataset_dir must hold views named <id>{frontal}.tiff, got {folder}; do revoxel ct drr."
            raise FileNotFoundError(msg)
    return [{"image": str(Path(folder) / name)} for name in sorted(names)]


class ViewsInNepersd(MapTransform):
    """Read the views of a patient, `(2, 1, row, column)` in nepers.

    TIFF and NIfTI hold nepers; PNG and DICOM are display images, whose scale and geometry
    `<id>_drr_geometry.json` states.

    Args:
        keys: Folder and id, as `view_items` gives them; views take their place.
        scene: Whose geometry is meant where no file states it.
    """

    def __init__(self, keys: KeysCollection, scene: XrayScene) -> None:
        super().__init__(keys)
        self.scene = scene

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the files.

        Args:
            data: Item with names.

        Returns:
            Item with views.

        Raises:
            FileNotFoundError: If there is no view of that name.
            ValueError: If a view is missing, has no scale, or another geometry.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            case = Path(item[key])
            views = MetaTensor(self._read(case))
            views.meta["filename_or_obj"] = f"{case}.nii.gz"
            item[key] = views
        return item

    def _read(self, case: Path) -> torch.Tensor:
        found = views_beside(case)
        if found is None:
            msg = f"{case} must have views {' and '.join(VIEW_ENDINGS)}, got none; do revoxel ct drr."
            raise FileNotFoundError(msg)
        stated = case.with_name(f"{case.name}_drr_geometry.json")
        unit = ViewsUnit.DISPLAY if found[0].suffix in _UNSCALED else ViewsUnit.NEPERS
        options = ViewOptions(unit, geometry=stated if stated.is_file() else self.scene.geometry)
        views = load_views(*found, options)
        wanted, given = self.scene.geometry, views.geometry
        if (given.kind, given.size) != (wanted.kind, wanted.size):
            msg = (
                f"{case}: views must be {wanted.kind} on {wanted.size} pixels, got {given.kind} on "
                f"{given.size}; project with this --geometry and --size."
            )
            raise ValueError(msg)
        return require_nepers(views)[0]


class CentreVolumed(MapTransform):
    """Give a volume the affine of a grid around the isocentre, which is the origin.

    Args:
        keys: Volumes, `(1, x, y, z)`.
        scene: Holds the voxel size.
    """

    def __init__(self, keys: KeysCollection, scene: XrayScene) -> None:
        super().__init__(keys)
        self.scene = scene

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the affines.

        Args:
            data: Item with volumes.

        Returns:
            Item with volumes where they lie.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            volume = item[key]
            name = getattr(volume, "meta", {}).get("filename_or_obj", "volume.nii.gz")
            affine = np.diag([*self.scene.spacing_mm, 1.0])
            affine[:3, 3] = -affine[:3, :3] @ ((np.array(volume.shape[1:]) - 1) / 2)
            plain = torch.as_tensor(np.asarray(volume))
            item[key] = MetaTensor(plain, affine=torch.from_numpy(affine), meta={"filename_or_obj": name})
        return item
