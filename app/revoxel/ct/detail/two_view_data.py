"""What the two-view base learns from: prepared CTs, moved, turned and scaled, and X-rayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.transforms import RandAffine, ResizeWithPadOrCrop
from torch.utils.data import Dataset

from revoxel.core.volumes import read_volume
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.xray.projector import project_views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from revoxel.ct.detail.lifting import XrayScene
    from revoxel.ct.scans.study import CtRow, CtStudy

_HALF = 0.5


@dataclass(frozen=True)
class ViewRecipe:
    """How volumes are varied.

    Args:
        size: Side of a volume in voxels.
        rotation_degrees: Largest turn about every axis.
        scale: Largest relative change of size.
        shift_voxels: Largest move, beyond what reaches every part of a larger CT.
        intensity: Largest relative change of the attenuation.
    """

    size: int = 32
    rotation_degrees: float = 8.0
    scale: float = 0.2
    shift_voxels: float = 3.0
    intensity: float = 0.05


class ViewBank(Dataset[dict[str, "Tensor"]]):
    """Volumes of some rows of a study with their X-rays; an item depends on seed and index alone.

    A volume is X-rayed by itself, as if nothing stood before and behind it.

    Args:
        study: Prepared at the voxel size of the scene.
        rows: Those to draw from, each with the same weight.
        recipe: How they are varied.
        scene: Ties voxels to pixels.
        n_volumes: Volumes per epoch.
        seed: Of everything random.
        augment: Vary them, anew in every epoch; without, an item is the middle of its row.

    Raises:
        ValueError: If there are no rows, or the study has another voxel size.
    """

    def __init__(  # noqa: PLR0913 - one line of a bundle's config each
        self,
        study: CtStudy,
        rows: Sequence[CtRow],
        recipe: ViewRecipe,
        scene: XrayScene,
        n_volumes: int,
        *,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        _check(study, rows, scene)
        self.recipe, self.scene = recipe, scene
        self.n_volumes, self.seed, self.augment = n_volumes, seed, augment
        self.volumes = [read_hu(study, row) for row in rows]
        self.middle = ResizeWithPadOrCrop((recipe.size,) * 3, value=PADDING_HU)

    def __len__(self) -> int:
        """Volumes per epoch."""
        return self.n_volumes

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One volume and its views.

        Args:
            index: `epoch * n_volumes + place`; without augmentation the place alone counts.

        Returns:
            `image`, the views `(2, 1, row, column)` in nepers; `label`, the volume `(1, n, n, n)`,
            normalised.
        """
        place = index % self.n_volumes
        rng = np.random.default_rng((self.seed, index if self.augment else place))
        volume = self.volumes[place % len(self.volumes)]
        hu = self._varied(volume, rng) if self.augment else _plain(self.middle(volume))
        hu = self.scene.window.clip(hu)
        views = project_views(hu[None], self.scene.spacing_mm, self.scene.geometry)
        return {"image": views[0], "label": self.scene.window.normalise(hu)}

    def _varied(self, volume: Tensor, rng: np.random.Generator) -> Tensor:
        recipe = self.recipe
        reach = [max(0, side - recipe.size) / 2 + recipe.shift_voxels for side in volume.shape[1:]]
        move = RandAffine(
            prob=1.0,
            rotate_range=[float(np.deg2rad(recipe.rotation_degrees))] * 3,
            translate_range=reach,
            scale_range=[recipe.scale] * 3,
            spatial_size=(recipe.size,) * 3,
            padding_mode="zeros",
        )
        move.set_random_state(seed=int(rng.integers(2**31)))
        # Zero is what a volume is padded with.
        moved = _plain(move(volume - PADDING_HU))
        mirrored = moved.flip(1) if rng.random() < _HALF else moved
        gain = 1 + recipe.intensity * float(rng.uniform(-1, 1))
        return gain * mirrored + PADDING_HU


def read_hu(study: CtStudy, row: CtRow) -> Tensor:
    """Fine volume of a row.

    Args:
        study: Where the row stands.
        row: The CT.

    Returns:
        `(1, x, y, z)` in HU.
    """
    return torch.from_numpy(np.asarray(read_volume(study.resolve(row.fine)).data, dtype=np.float32))[None]


def _plain(image: object) -> Tensor:
    """Tensor without the metadata that MONAI's transforms add."""
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))


def _check(study: CtStudy, rows: Sequence[CtRow], scene: XrayScene) -> None:
    if not rows:
        msg = "a run must have rows to learn from, got none; choose another fold, or --fold all."
        raise ValueError(msg)
    if any(side_mm != study.spacing_mm for side_mm in scene.spacing_mm):
        msg = (
            f"the study must have the voxel size of the scene, got {study.spacing_mm:g} mm and "
            f"{list(scene.spacing_mm)}; prepare it anew, or change scene.spacing_mm."
        )
        raise ValueError(msg)
