"""Steps from a coarse CT to a fine one that need no weights, and their use slab by slab in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.ct.consistency import (
    consistency_error_hu,
    project_onto_coarse,
    round_within_blocks,
    upsample_trilinear,
)
from revoxel.ct.hounsfield import HounsfieldWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Volume = NDArray[np.float32]
    Whole = NDArray[np.int16]
    Share = Callable[[float], None]
    Step = Callable[[Volume, Share], Volume]

#: Values that a refined volume may have: 12-bit CT numbers, wider than any network's window, so that
#: neither bone nor metal is cut.
CT_NUMBERS = HounsfieldWindow(-1024.0, 3071.0)
#: How far, in coarse voxels, the projection looks: ten smooth steps and an interpolation on either side.
REACH = 12
_BYTES_PER_FINE_VOXEL = 40
_GIGABYTE = 1e9


def trilinear(coarse_hu: Volume, factor: int) -> Volume:
    """Trilinear interpolation between centres of coarse voxels.

    Args:
        coarse_hu: `(x, y, z)` in HU.
        factor: Fine voxels along a coarse one; 1 gives a copy.

    Returns:
        `(factor x, factor y, factor z)` in HU.
    """
    return as_volume(upsample_trilinear(as_tensor(coarse_hu), factor))


def projected(fine_hu: Volume, coarse_hu: Volume) -> Whole:
    """Make a fine volume consistent with the coarse one, in whole HU as it is written to a file.

    Args:
        fine_hu: `(f x, f y, f z)` in HU.
        coarse_hu: `(x, y, z)` in HU.

    Returns:
        `(f x, f y, f z)` in HU.
    """
    factor = fine_hu.shape[0] // coarse_hu.shape[0]
    fine = project_onto_coarse(as_tensor(fine_hu), as_tensor(coarse_hu), window=CT_NUMBERS, factor=factor)
    whole: Whole = round_within_blocks(fine, factor)[0, 0].numpy()
    return whole


@dataclass(frozen=True, eq=False)
class Result:
    """A refined volume and what was checked while it was made.

    Attributes:
        refined: `(factor x, factor y, factor z)` in whole HU.
        added_detail: Refined less interpolated, HU, likewise.
        consistency_mean_hu: Mean distance of block means from the coarse volume.
        consistency_max_hu: Largest one.
        clipped_share: Voxels cut to the range of CT numbers, those that interpolation puts there left out.
    """

    refined: Whole
    added_detail: Whole
    consistency_mean_hu: float
    consistency_max_hu: float
    clipped_share: float


def by_slabs(
    coarse_hu: Volume, upsample: Step, factor: int, memory_gb: float, progress: Share | None = None
) -> Result:
    """Upsample and project, a slab of the volume at a time; the slabs fit as if it were done at once.

    Args:
        coarse_hu: `(x, y, z)` in HU.
        upsample: Gives `(factor x, factor y, factor z)` in HU of a part of the coarse volume, and tells its
            share done.
        factor: Fine voxels along a coarse one.
        memory_gb: Bound for the working memory of the projection; the results come on top.
        progress: Called with the share done.

    Returns:
        The volumes and checks.

    Raises:
        ValueError: If the memory is too small for the thinnest slab.
    """
    report = progress or (lambda _share: None)
    refined, detail = (
        np.empty([factor * side for side in coarse_hu.shape], dtype=np.int16) for _ in range(2)
    )
    errors, n_clipped = [], 0
    n_layers = len(coarse_hu)
    for start, stop in slabs(coarse_hu.shape, factor, memory_gb):
        first, last = max(0, start - REACH), min(n_layers, stop + REACH)
        part, inner = coarse_hu[first:last], slice(factor * (start - first), factor * (stop - first))
        fine = projected(upsample(part, _part_of(report, start / n_layers, stop / n_layers)), part)[inner]
        plain = trilinear(part, factor)[inner]
        here = slice(factor * start, factor * stop)
        refined[here], detail[here] = fine, np.rint(fine - plain)
        errors.append(consistency_error_hu(as_tensor(fine), as_tensor(coarse_hu[start:stop]), factor))
        n_clipped += _n_clipped(fine, plain)
        report(stop / n_layers)
    means, largest = zip(*errors, strict=True)
    return Result(refined, detail, float(np.mean(means)), max(largest), n_clipped / refined.size)


def _part_of(report: Share, start: float, stop: float) -> Share:
    return lambda share: report(start + share * (stop - start))


def _n_clipped(fine: Whole, plain: Volume) -> int:
    cut = (fine <= CT_NUMBERS.low_hu) & (plain > CT_NUMBERS.low_hu + 0.5)
    cut |= (fine >= CT_NUMBERS.high_hu) & (plain < CT_NUMBERS.high_hu - 0.5)
    return int(cut.sum())


def slabs(shape: tuple[int, ...], factor: int, memory_gb: float) -> Iterator[tuple[int, int]]:
    """First and last layer of slabs along the first axis that fit into memory with what they look at.

    Args:
        shape: Of the coarse volume.
        factor: Fine voxels along a coarse one.
        memory_gb: Bound.

    Yields:
        Start and stop.

    Raises:
        ValueError: If not even one layer fits.
    """
    n_layers, *plane = shape
    layer_bytes = _BYTES_PER_FINE_VOXEL * factor**3 * int(np.prod(plane))
    n_fit = int(memory_gb * _GIGABYTE // layer_bytes)
    thickness = n_layers if n_fit >= n_layers else n_fit - 2 * REACH
    if thickness < 1:
        needed = (2 * REACH + 1) * layer_bytes / _GIGABYTE
        msg = f"memory must be at least {needed:.1f} GB for this volume, got {memory_gb:g}; crop it."
        raise ValueError(msg)
    for start in range(0, n_layers, thickness):
        yield start, min(start + thickness, n_layers)


def as_tensor(volume: NDArray[Any]) -> torch.Tensor:
    """`(1, 1, x, y, z)` float32 of a volume.

    Args:
        volume: `(x, y, z)`.
    """
    return torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None, None]


def as_volume(volume: torch.Tensor) -> Volume:
    """`(x, y, z)` of a tensor with one channel.

    Args:
        volume: `(1, 1, x, y, z)`.
    """
    array: Volume = volume[0, 0].numpy()
    return array
