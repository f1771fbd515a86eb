"""From two X-ray views to a volume of features: each voxel gets what its own rays brought to the detector."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.projector import WATER_PER_MM, Spacing, lift, project_views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class XrayScene:
    """What ties voxels to pixels: HU window, voxel size, and where source and detector stand.

    Attributes:
        spacing_mm: Voxel size along x, y, z.
        geometry: Of source and detector.
        window: Range of HU that networks see as 0 to 1.
    """

    spacing_mm: Spacing
    geometry: XrayGeometry = field(default_factory=XrayGeometry)
    window: HounsfieldWindow = field(default_factory=HounsfieldWindow)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> XrayScene:
        """Read what `as_dict` gave.

        Args:
            values: `spacing_mm`, `geometry`, `window`.

        Raises:
            ValueError: If a key is missing or unknown, or a value impossible.
        """
        try:
            x, y, z = (float(side) for side in values["spacing_mm"])
            geometry, window = XrayGeometry(**values["geometry"]), HounsfieldWindow(**values["window"])
        except (KeyError, TypeError) as error:
            msg = (
                f"scene must hold spacing_mm, geometry and window, got {dict(values)} ({error}); correct it."
            )
            raise ValueError(msg) from error
        return cls((x, y, z), geometry, window)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in a checkpoint."""
        geometry = asdict(self.geometry) | {"kind": str(self.geometry.kind)}
        return {"spacing_mm": list(self.spacing_mm), "geometry": geometry, "window": asdict(self.window)}

    @property
    def neper_per_voxel(self) -> float:
        """Line integral through one voxel that changes by the width of the window."""
        depth_mm = (self.spacing_mm[0] + self.spacing_mm[1]) / 2
        return WATER_PER_MM / 1000 * self.window.width_hu * depth_mm


def check_views(views: Tensor, n_batch: int) -> None:
    """Refuse views that do not belong to a batch of volumes.

    Args:
        views: `(B, 2, 1, row, column)`, frontal first.
        n_batch: Volumes in the batch.

    Raises:
        ValueError: If the shape is another one, or there is not one pair for every volume.
    """
    if views.ndim != 5 or views.shape[1:3] != (len(View), 1):
        msg = (
            f"views must be (B, 2, 1, row, column), frontal and lateral, got {tuple(views.shape)}; "
            "stack one image of each view."
        )
        raise ValueError(msg)
    if len(views) != n_batch:
        msg = f"views must be one pair per volume, got {len(views)} pairs for {n_batch}; pair them."
        raise ValueError(msg)


def lift_views(features: Tensor, shape: tuple[int, int, int], scene: XrayScene) -> Tensor:
    """Spread the features of both views back along their rays.

    Args:
        features: `(B, 2, C, row, column)`, frontal first; any number of pixels over the detector.
        shape: Voxels along x, y, z.
        scene: Ties voxels to pixels.

    Returns:
        `(B, 2 C, X, Y, Z)`: the frontal view's channels, constant along y for parallel rays, then the lateral
        view's, constant along x; 0 where the detector sees nothing.
    """
    lifted = [
        lift(features[:, index], shape, scene.spacing_mm, scene.geometry, view)
        for index, view in enumerate(View)
    ]
    return torch.cat(lifted, dim=1)


def view_evidence(coarse: Tensor, views: Tensor, scene: XrayScene) -> Tensor:
    """What the views show, and what of it the coarse volume leaves unexplained.

    Only this difference holds news. In normalised voxel values, the view is their mean over the depth of the
    volume, the difference their sum, so that both are about one. A view of zeros counts as absent.

    Args:
        coarse: `(B, 1, X, Y, Z)`, normalised.
        views: `(B, 2, 1, row, column)` in nepers.
        scene: Ties voxels to pixels.

    Returns:
        `(B, 2, 2, row, column)`: view and difference; 0 for an absent view.

    Raises:
        ValueError: If the shapes do not fit.
    """
    check_views(views, len(coarse))
    size = scene.geometry.size
    if views.shape[-2:] != (size, size):
        msg = f"views must have {size} x {size} pixels, got {tuple(views.shape[-2:])}; resample them."
        raise ValueError(msg)
    explained = project_views(scene.window.restore(coarse), scene.spacing_mm, scene.geometry)
    present = views.flatten(2).any(dim=2)[:, :, None, None, None]
    depth_voxels = (coarse.shape[2] + coarse.shape[3]) / 2
    evidence = torch.cat([views / depth_voxels, views - explained], dim=2) / scene.neper_per_voxel
    return torch.where(present, evidence, 0.0)
