"""What the detail bundle's inference does beside MONAI's and our own transforms: find CTs and their views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import MapTransform

from revoxel.core.meta_images import grid_of
from revoxel.core.one_line import one_line_errors
from revoxel.ct.xray.view_files import views_beside
from revoxel.ct.xray.views import ViewOptions, load_views, settle_views

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

    from revoxel.ct.detail.lifting import XrayScene

_LARGEST_DIFFERENCE = 0.01


def ct_items(folder: str | Path | None) -> list[dict[str, str]]:
    """CTs of a folder as MONAI items, by name.

    Args:
        folder: where they lie.

    Raises:
        SystemExit: With one line, if there is none.
    """
    files = [] if folder is None else sorted(Path(folder).glob("*.nii*"))
    if folder is not None and not files:
        with one_line_errors():
            msg = f"dataset_dir must hold NIfTI files, got {folder}; give --dataset_dir FOLDER."
            raise FileNotFoundError(msg)
    return [{"image": str(path)} for path in files]


class ViewsBesided(MapTransform):
    """Read the X-ray views that lie beside a CT, in nepers; without any they are zeros, which is none.

    Args:
        keys: CT in HU; the views go to `views`.
        scene: What the network was trained for; the CT must have its voxel size.
    """

    def __init__(self, keys: KeysCollection, scene: XrayScene) -> None:
        super().__init__(keys)
        self.scene = scene

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Find and read the views.

        Args:
            data: Item with a CT.

        Returns:
            Item with `views`, `(2, 1, row, column)`.

        Raises:
            ValueError: If the CT has another voxel size, or the views are swapped or upside down.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item["views"] = self._views(item[key])
            # A batch collates numbers and text; the notes on a scan may be absent or empty.
            item[key].meta = {k: v for k, v in item[key].meta.items() if v is not None and v != []}
        return item

    def _views(self, image: Any) -> torch.Tensor:
        spacing_mm, path = grid_of(image).spacing_mm, Path(image.meta["filename_or_obj"])
        if not np.allclose(spacing_mm, self.scene.spacing_mm, rtol=_LARGEST_DIFFERENCE):
            msg = (
                f"{path} must have voxels of {self.scene.spacing_mm} mm, got {spacing_mm}; "
                "do revoxel ct prepare with this --spacing-mm first."
            )
            raise ValueError(msg)
        found, size = views_beside(path), self.scene.geometry.size
        if found is None:
            return torch.zeros(2, 1, size, size)
        views = load_views(*found, ViewOptions(geometry=self.scene.geometry))
        hu = torch.as_tensor(np.asarray(image, dtype=np.float32))[None]
        return settle_views(views, hu, self.scene.spacing_mm)[0][0]
