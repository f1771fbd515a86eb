"""Brain slices whose CBF and ATT are known: what simulated scans are made of and judged by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from revoxel.asl.simulation.folded import folded_maps
from revoxel.asl.simulation.shapes import Maps, Tissue, disc_distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALLEST = 16


class PhantomKind(StrEnum):
    """How a phantom is drawn."""

    #: Patches of one CBF and one ATT per tissue, as the project did that this package grew from.
    SEED = "seed"
    #: Elliptic brain with a folded cortex, smooth fields, fine texture, delayed territory and lesions.
    FOLDED = "folded"
    #: One CBF and one ATT in every voxel.
    UNIFORM = "uniform"


@dataclass(frozen=True)
class PhantomConfig:
    """Which phantoms to draw.

    Args:
        kind: How they are drawn.
        size: Rows and columns of the slice.
        voxel_scale: Voxels along a length that had one voxel: 2 with twice the size is the same anatomy on
            a finer grid, 1 with twice the size is a larger brain with folds of the same number of voxels.
        uniform_cbf_ml_100g_min: CBF of a `uniform` phantom; drawn between 10 and 100 if not given.
        uniform_att_ms: ATT of a `uniform` phantom; drawn between 600 and 2600 if not given.

    Raises:
        ValueError: If the kind is unknown, the slice too small or the scale not positive.
    """

    kind: PhantomKind | str = PhantomKind.FOLDED
    size: int = 64
    voxel_scale: float = 1.0
    uniform_cbf_ml_100g_min: float | None = None
    uniform_att_ms: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in set(PhantomKind):
            msg = f"kind must be one of {', '.join(PhantomKind)}, got {self.kind!r}; choose one."
            raise ValueError(msg)
        object.__setattr__(self, "kind", PhantomKind(self.kind))
        if self.size < _SMALLEST or not self.voxel_scale > 0:
            msg = (
                f"a phantom must have size >= {_SMALLEST} and voxel_scale > 0, got {self.size} and "
                f"{self.voxel_scale:g}; enlarge them."
            )
            raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Phantom:
    """One slice.

    Attributes:
        cbf: `(row, column)` float32, ml/100g/min; 0 outside the mask.
        att: Same shape, ms; 0 outside the mask.
        mask: Voxels that count.
        tissue: `Tissue` as int8; background outside the mask.
        lesion: 0, or the number of the lesion, int8.
    """

    cbf: NDArray[np.float32]
    att: NDArray[np.float32]
    mask: NDArray[np.bool_]
    tissue: NDArray[np.int8]
    lesion: NDArray[np.int8]


def make_phantom(config: PhantomConfig, rng: np.random.Generator) -> Phantom:
    """Draw a slice.

    Args:
        config: Kind and size.
        rng: Source of everything random.

    Returns:
        The slice.
    """
    draw = {
        PhantomKind.SEED: _seed_maps,
        PhantomKind.FOLDED: _folded_maps,
        PhantomKind.UNIFORM: _uniform_maps,
    }[PhantomKind(config.kind)]
    maps = draw(config, rng)
    mask = maps.mask
    return Phantom(
        cbf=np.where(mask, maps.cbf, 0).astype(np.float32),
        att=np.where(mask, maps.att, 0).astype(np.float32),
        mask=mask,
        tissue=np.where(mask, maps.tissue, Tissue.BACKGROUND).astype(np.int8),
        lesion=np.where(mask, maps.lesion, 0).astype(np.int8),
    )


def _folded_maps(config: PhantomConfig, rng: np.random.Generator) -> Maps:
    return folded_maps(config.size, config.voxel_scale, rng)


def _uniform_maps(config: PhantomConfig, rng: np.random.Generator) -> Maps:
    cbf, att = rng.uniform(10, 100), rng.uniform(600, 2600)
    cbf = cbf if config.uniform_cbf_ml_100g_min is None else config.uniform_cbf_ml_100g_min
    att = att if config.uniform_att_ms is None else config.uniform_att_ms
    shape = (config.size, config.size)
    tissue = np.full(shape, Tissue.GREY_MATTER)
    return Maps(np.full(shape, cbf), np.full(shape, att), np.ones(shape, bool), tissue, np.zeros(shape, int))


#: CBF and ATT that a tissue of a `seed` phantom may have; share of the patches.
_SEED_TISSUES = {
    Tissue.GREY_MATTER: ((50, 70), (1000, 1600), 0.5),
    Tissue.WHITE_MATTER: ((18, 28), (1200, 1800), 0.4),
    Tissue.CSF: ((0, 5), (100, 500), 0.1),
}
#: Outer and inner part of a tumour and of a stroke: CBF, ATT; share of the radius that is inner.
_SEED_LESIONS = (
    (((90, 150), (500, 1000)), ((5, 20), (1800, 2500)), 0.6),
    (((15, 35), (1800, 2500)), ((2, 10), (2500, 3000)), 0.5),
)


def _seed_maps(config: PhantomConfig, rng: np.random.Generator) -> Maps:
    size, scale = config.size, config.voxel_scale
    tissue = _patches(size, rng)
    cbf, att = np.zeros((2, size, size))
    for kind, (cbf_range, att_range, _) in _SEED_TISSUES.items():
        cbf[tissue == kind], att[tissue == kind] = rng.uniform(*cbf_range), rng.uniform(*att_range)
    lesion = np.zeros((size, size), int)
    for number, (outer, inner, share) in enumerate(_SEED_LESIONS, start=1):
        if rng.random() < 0.35:
            radius = rng.uniform(5, 15) * scale
            distance = disc_distance(size, rng.uniform(0.25, 0.75, 2) * size) / radius
            lesion[distance < 1] = number
            for part, values in ((distance < 1, outer), (distance < share, inner)):
                cbf[part], att[part] = rng.uniform(*values[0]), rng.uniform(*values[1])
    cbf = gaussian_filter(cbf + 3 * rng.standard_normal(cbf.shape), scale)
    att = gaussian_filter(att + 50 * rng.standard_normal(att.shape), scale)
    return Maps(cbf.clip(0), att.clip(100), cbf > 1, tissue, lesion)


def _patches(size: int, rng: np.random.Generator) -> NDArray[Any]:
    """Voronoi cells of random points, each of one tissue."""
    points = rng.uniform(0, size, (rng.integers(15, 31), 2))
    kinds = rng.choice(list(_SEED_TISSUES), len(points), p=[part[2] for part in _SEED_TISSUES.values()])
    distances = np.stack([disc_distance(size, point) for point in points])
    return kinds[distances.argmin(0)]
