"""What the detail network learns from: patches of prepared CTs, X-rayed, and made coarse by a frozen base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from revoxel.core.volumes import read_volume
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.xray.projector import project_views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from revoxel.ct.detail.bases import FrozenBase
    from revoxel.ct.detail.lifting import XrayScene
    from revoxel.ct.scans.study import CtRow, CtStudy

_N_TRIES = 20
_HALF = 0.5


@dataclass(frozen=True)
class DetailRecipe:
    """How patches are drawn.

    Args:
        size: Side of a patch in voxels.
        least_measured: Share of a patch that the scanner must have measured, after some tries.
        view_dropout: Share of patches whose views are zeros, so that the network knows what to do without.
    """

    size: int = 32
    least_measured: float = 0.8
    view_dropout: float = 0.15


class DetailBank(Dataset[dict[str, "Tensor"]]):
    """Patches of some rows of a study; an item depends on seed and index alone.

    A patch is X-rayed by itself, as if nothing stood before and behind it.

    Args:
        study: Prepared at the voxel size of the scene.
        rows: Those to draw from; each has the same weight.
        recipe: How patches are drawn.
        scene: Ties voxels to pixels.
        base: Makes the coarse volume.
        n_patches: Patches per epoch.
        seed: Of everything random.
        augment: Turn and mirror, leave views out, and draw new patches every epoch; off for validation.

    Raises:
        ValueError: If there are no rows, the study has another voxel size, or a row is smaller than a patch.
    """

    def __init__(  # noqa: PLR0913 - one line of a bundle's config each
        self,
        study: CtStudy,
        rows: Sequence[CtRow],
        recipe: DetailRecipe,
        scene: XrayScene,
        base: FrozenBase,
        n_patches: int,
        *,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        _check(study, rows, scene)
        self.recipe, self.scene, self.base = recipe, scene, base
        self.n_patches, self.seed, self.augment = n_patches, seed, augment
        self.volumes = [_read(study, row, recipe.size) for row in rows]

    def __len__(self) -> int:
        """Patches per epoch."""
        return self.n_patches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One patch.

        Args:
            index: `epoch * n_patches + place`; without augmentation the epoch changes nothing.

        Returns:
            `image`, the coarse patch `(1, n, n, n)`; `views`, `(2, 1, row, column)` in nepers; `label`,
            `(2, n, n, n)` with the truth and the coarse patch; volumes are normalised.
        """
        rng = np.random.default_rng((self.seed, index if self.augment else index % self.n_patches))
        hu = self._drawn(rng)
        absent = False
        if self.augment:
            hu, absent = _turned(hu, rng), rng.random() < self.recipe.view_dropout
        views = project_views(hu[None, None], self.scene.spacing_mm, self.scene.geometry)
        truth = self.scene.window.normalise(hu)[None, None]
        coarse = self.base.coarse(views, truth)[0]
        shown = torch.zeros_like(views) if absent else views
        return {"image": coarse, "views": shown[0], "label": torch.cat([truth[0], coarse])}

    def _drawn(self, rng: np.random.Generator) -> Tensor:
        volume = self.volumes[rng.integers(len(self.volumes))]
        patch, most = volume, -1.0
        for _ in range(_N_TRIES):
            start = [int(rng.integers(0, side - self.recipe.size + 1)) for side in volume.shape]
            x, y, z = (slice(first, first + self.recipe.size) for first in start)
            measured = float((volume[x, y, z] > PADDING_HU).float().mean())
            if measured > most:
                patch, most = volume[x, y, z], measured
            if most >= self.recipe.least_measured:
                break
        return patch


def _turned(hu: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror along any axis and swap x with y: what stands upright stays upright."""
    mirrored = hu.flip([axis for axis in range(3) if rng.random() < _HALF])
    return mirrored.transpose(0, 1) if rng.random() < _HALF else mirrored


def _read(study: CtStudy, row: CtRow, size: int) -> Tensor:
    hu = torch.from_numpy(np.asarray(read_volume(study.resolve(row.fine)).data, dtype=np.float32))
    if min(hu.shape) < size:
        msg = (
            f"{row.name} must have sides of {size} voxels at least, got {tuple(hu.shape)}; leave it out, or "
            "train on smaller patches."
        )
        raise ValueError(msg)
    return hu


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
