"""A network on a whole volume, tile by tile in bounded memory, as if it had seen it at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations, product
from typing import TYPE_CHECKING

import torch

from revoxel.core.iterations import Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from revoxel.ct.hounsfield import HounsfieldWindow
    from revoxel.ct.upsampler.network import ResidualUpsampler3D

Box = tuple[slice, slice, slice]
Axes = tuple[int, ...]
_AS_IT_IS: tuple[Axes, ...] = ((),)
_MIRRORS: tuple[Axes, ...] = tuple(axes for n in range(4) for axes in combinations((2, 3, 4), n))
#: Coarse voxels along a side of a tile, its surroundings not counted.
TILE = 64


@dataclass(frozen=True)
class UpsampleOptions:
    """How a network is applied.

    Args:
        tile: side of a tile in coarse voxels.
        mirrored: mean over eight mirror images, for eight times the time.
        precision: number format; by default bfloat16 where the hardware has it.

    Raises:
        ValueError: If the tile is not positive.
    """

    tile: int = TILE
    mirrored: bool = True
    precision: Precision = field(default_factory=Precision)

    def __post_init__(self) -> None:
        """Refuse what is no tile."""
        if self.tile < 1:
            msg = f"tile must be at least 1 coarse voxel, got {self.tile}; use {TILE}."
            raise ValueError(msg)


@torch.no_grad()
def upsample(
    network: ResidualUpsampler3D,
    coarse_hu: Tensor,
    *,
    window: HounsfieldWindow,
    options: UpsampleOptions | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Upsample a volume; `revoxel.ct.consistency.project_onto_coarse` comes after it.

    Every tile is computed with the surroundings that it depends on, so seams do not exist; with channel
    attention, whose means are those of the tile, they are small.

    Args:
        network: in evaluation mode.
        coarse_hu: `(1, 1, X, Y, Z)`, HU.
        window: what the network sees as 0 to 1.
        options: tiles, mirror images and number format.
        progress: called with the share done.

    Returns:
        `(1, 1, factor X, factor Y, factor Z)`, HU, float32, on the device of `coarse_hu`.

    Raises:
        ValueError: If the volume is of another shape.
    """
    if coarse_hu.ndim != 5 or tuple(coarse_hu.shape[:2]) != (1, 1):
        msg = f"coarse_hu must be (1, 1, X, Y, Z), got {tuple(coarse_hu.shape)}; give one volume at a time."
        raise ValueError(msg)
    options = options or UpsampleOptions()
    mirrors = _MIRRORS if options.mirrored else _AS_IT_IS
    device = next(network.parameters()).device
    coarse = window.normalise(coarse_hu.float())
    fine = network.base(coarse)
    boxes = list(_tiles(tuple(coarse.shape[2:]), options.tile))
    for number, box in enumerate(boxes, start=1):
        around, inner = _surroundings(box, tuple(coarse.shape[2:]), network.radius)
        part = coarse[(..., *around)].to(device)
        correction = _correction(network, part, options.precision, mirrors)
        here, there = _scaled(box, network.factor), _scaled(inner, network.factor)
        fine[(..., *here)] += correction[(..., *there)].to(fine.device)
        if progress:
            progress(number / len(boxes))
    return window.restore(fine)


def _correction(
    network: ResidualUpsampler3D, part: Tensor, precision: Precision, mirrors: Sequence[Axes]
) -> Tensor:
    """Mean correction over mirror images, each mirrored back."""
    total = torch.zeros(())
    for axes in mirrors:
        with precision.autocast(part.device):
            mirror = network.corrections(precision.layout(part.flip(axes)))[network.factor]
        total = total.to(mirror.device) + mirror.flip(axes)
    return total / len(mirrors)


def _tiles(shape: tuple[int, ...], tile: int) -> Iterator[Box]:
    axes = [[slice(start, min(start + tile, side)) for start in range(0, side, tile)] for side in shape]
    yield from product(*axes)


def _surroundings(box: Box, shape: tuple[int, ...], radius: int) -> tuple[Box, Box]:
    """The box with what it depends on, and where it lies therein."""
    around, inner = [], []
    for part, side in zip(box, shape, strict=True):
        first = max(0, part.start - radius)
        around.append(slice(first, min(side, part.stop + radius)))
        inner.append(slice(part.start - first, part.stop - first))
    return tuple(around), tuple(inner)  # type: ignore[return-value]


def _scaled(box: Box, factor: int) -> Box:
    return tuple(slice(factor * part.start, factor * part.stop) for part in box)  # type: ignore[return-value]
