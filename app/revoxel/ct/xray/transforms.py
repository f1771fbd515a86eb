"""MONAI dictionary transforms: X-rays made of a CT, and X-rays from files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import MapTransform, Transform

from revoxel.core.meta_images import grid_of
from revoxel.ct.xray.geometry import XrayGeometry
from revoxel.ct.xray.projector import project_views
from revoxel.ct.xray.views import load_views

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

    from revoxel.ct.xray.views import ViewOptions

Data = dict["Hashable", Any]


class ProjectViewsd(MapTransform):
    """X-ray a CT from both sides.

    Args:
        keys: CT in HU, `(1, x, y, z)` in RAS with its affine.
        views_key: Where `(2, 1, row, column)` in nepers goes; of the last key, if there are several.
        geometry: Of source and detector.
        allow_missing_keys: Skip absent keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        views_key: str = "views",
        geometry: XrayGeometry | None = None,
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.views_key, self.geometry = views_key, geometry or XrayGeometry()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Project.

        Args:
            data: Item with images.

        Returns:
            Item with views.

        Raises:
            ValueError: If an image is not `(1, x, y, z)`, or the source stands inside it.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            hu = torch.as_tensor(np.asarray(item[key], dtype=np.float32))
            item[self.views_key] = project_views(hu[None], grid_of(item[key]).spacing_mm, self.geometry)[0]
        return item


class LoadViewsd(Transform):
    """Read two views from files: `(2, 1, row, column)`, frontal first.

    Args:
        frontal_key: Where the path of the frontal view is.
        lateral_key: Where that of the lateral view is.
        views_key: Where the images go; `{views_key}_loaded` holds the `Views` with geometry and notes.
        options: Unit, flips and geometry.
    """

    def __init__(
        self,
        frontal_key: str = "frontal",
        lateral_key: str = "lateral",
        views_key: str = "views",
        options: ViewOptions | None = None,
    ) -> None:
        self.frontal_key, self.lateral_key = frontal_key, lateral_key
        self.views_key, self.options = views_key, options

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Read the files.

        Args:
            data: Item with paths.

        Returns:
            Item with views.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is no view in the stated unit.
        """
        views = load_views(data[self.frontal_key], data[self.lateral_key], self.options)
        return dict(data) | {self.views_key: views.images, f"{self.views_key}_loaded": views}


ProjectViewsD = ProjectViewsDict = ProjectViewsd
LoadViewsD = LoadViewsDict = LoadViewsd
