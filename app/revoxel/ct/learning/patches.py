"""Random patches of prepared volumes: turned, mirrored, brightened, and at other spacings too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from revoxel.core.volumes import read_volume
from revoxel.ct.consistency import block_mean
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.scans.coarse import CoarseMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from revoxel.ct.scans.study import CtRow, CtStudy

_N_TRIES = 8
# A patch of air teaches nothing.
_LEAST_SPREAD = 0.02
_HALF = 0.5


@dataclass(frozen=True)
class PatchRecipe:
    """How patches are drawn.

    Args:
        size: side of a fine patch in voxels, divisible by the factor.
        zooms: ratios of further spacings to the study's; 1 is the study's own.
        intensity: largest relative change of the HU above the window's lower end; 0 changes nothing.
        window: what the network sees as 0 to 1; the truth is clipped to it.
    """

    size: int = 48
    zooms: Sequence[float] = (1.0,)
    intensity: float = 0.0
    window: HounsfieldWindow = field(default_factory=HounsfieldWindow)


class PatchBank(Dataset[dict[str, "Tensor"]]):
    """Patches of some rows of a study; an item depends on seed and index alone.

    A row is drawn in proportion to the square root of its voxels; further spacings share a quarter of that.

    Args:
        study: the study.
        rows: those to draw from.
        recipe: how they are drawn.
        n_patches: patches per epoch.
        seed: of everything random.
        augment: turn, mirror and brighten, and draw new patches every epoch; off for validation.

    Raises:
        ValueError: If there are no rows, the size does not fit, or other spacings are asked for where the
            coarse volumes are no block means.
    """

    def __init__(
        self,
        study: CtStudy,
        rows: Sequence[CtRow],
        recipe: PatchRecipe,
        n_patches: int,
        *,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        _check(study, rows, recipe)
        self.recipe, self.n_patches, self.seed, self.augment = recipe, n_patches, seed, augment
        self.factor = study.factor
        zooms = recipe.zooms if augment else (1.0,)
        self.pairs: list[tuple[Tensor, Tensor]] = []
        weights: list[float] = []
        for row in rows:
            fine, coarse = (recipe.window.normalise(_read(study, path)) for path in (row.fine, row.coarse))
            for zoom in zooms:
                self.pairs.append(_at_zoom(fine, coarse, zoom, self.n_coarse))
                share = 0.75 if zoom == 1.0 else 0.25 / max(1, len(zooms) - 1)
                weights.append(share * fine.numel() ** 0.5)
        self.shares = np.array(weights) / sum(weights)

    @property
    def n_coarse(self) -> int:
        """Side of a coarse patch in voxels."""
        return self.recipe.size // self.factor

    def __len__(self) -> int:
        """Patches per epoch."""
        return self.n_patches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One pair of patches.

        Args:
            index: `epoch * n_patches + place`; without augmentation the epoch changes nothing.

        Returns:
            `image`, the coarse patch `(1, n, n, n)`, and `label`, the fine one; normalised HU.
        """
        rng = np.random.default_rng((self.seed, index if self.augment else index % self.n_patches))
        fine, coarse = self._drawn(rng)
        if self.augment:
            fine, coarse = self._turned(fine, coarse, rng)
        return {"image": coarse.contiguous(), "label": fine.contiguous()}

    def _drawn(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        fine, coarse = self.pairs[rng.choice(len(self.pairs), p=self.shares)]
        low, high = torch.empty(0), torch.empty(0)
        for _ in range(_N_TRIES):
            start = [int(rng.integers(0, side - self.n_coarse + 1)) for side in coarse.shape[1:]]
            low = _cut(coarse, start, self.n_coarse)
            high = _cut(fine, [self.factor * first for first in start], self.recipe.size)
            if high.std() > _LEAST_SPREAD:
                break
        return high, low

    def _turned(self, fine: Tensor, coarse: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        order = [0, *(1 + rng.permutation(3)).tolist()]
        mirrored = [axis for axis in (1, 2, 3) if rng.random() < _HALF]
        gain = 1 + self.recipe.intensity * float(rng.uniform(-1, 1))
        turned = [gain * volume.permute(order).flip(mirrored) for volume in (fine, coarse)]
        return turned[0], turned[1]


def _check(study: CtStudy, rows: Sequence[CtRow], recipe: PatchRecipe) -> None:
    if not rows:
        msg = "a run must have rows to learn from, got none; choose another fold, or --fold all."
        raise ValueError(msg)
    if recipe.size < 4 * study.factor or recipe.size % study.factor:
        msg = f"patch size must be at least {4 * study.factor} and divisible by {study.factor}, got "
        msg += f"{recipe.size}; use 48."
        raise ValueError(msg)
    if set(recipe.zooms) != {1.0} and study.mode is not CoarseMode.AREA:
        msg = f"zooms must be [1.0] for coarse volumes of mode {study.mode}, got {list(recipe.zooms)}; "
        msg += "prepare the study with --mode area, or leave them out."
        raise ValueError(msg)


def _read(study: CtStudy, path: object) -> Tensor:
    data = read_volume(study.resolve(path)).data  # type: ignore[arg-type]
    return torch.from_numpy(np.asarray(data, dtype=np.float32))[None]


def _at_zoom(fine: Tensor, coarse: Tensor, zoom: float, n_coarse: int) -> tuple[Tensor, Tensor]:
    """The pair at a coarser spacing, clipped to the window, at least one patch large."""
    factor = fine.shape[1] // coarse.shape[1]
    fine = fine.clamp(0.0, 1.0)
    if zoom != 1.0:
        sides = [factor * max(1, round(side / zoom / factor)) for side in fine.shape[1:]]
        fine = F.interpolate(fine[None], size=sides, mode="area")[0]
        coarse = block_mean(fine[None], factor)[0]
    else:
        coarse = coarse.clamp(0.0, 1.0)
    missing = [max(0, n_coarse - side) for side in coarse.shape[1:]]
    coarse = F.pad(coarse, [part for gap in reversed(missing) for part in (0, gap)])
    fine = F.pad(fine, [part for gap in reversed(missing) for part in (0, factor * gap)])
    return fine, coarse


def _cut(volume: Tensor, start: Sequence[int], size: int) -> Tensor:
    x, y, z = start
    return volume[:, x : x + size, y : y + size, z : z + size]
