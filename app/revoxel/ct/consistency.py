r"""Exact consistency: the finer volume's block means equal the coarse volume it was made from.

$y \leftarrow y + U(c - Dy)$ a few times, with the block mean $D$ and trilinear $U$, spreads the difference
without blocks; one shift per block then makes $Dy = c$ exactly inside the window. Down after up is a
three-tap stencil, so the smooth steps run on the coarse grid; the fine grid is touched once per clipping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.ct.hounsfield import HounsfieldWindow

#: Largest difference in HU between a block mean of a written volume and the coarse voxel.
TOLERANCE_HU = 0.5
_BISECTIONS = 40
# Smooth steps after clipping spare most blocks in air the exact step, which would show.
_N_CLIPPINGS = 3
# Sorting a slab at a time keeps the indices of a 256^3 volume from filling the memory.
_SLAB_VOXELS = 2_000_000


def block_mean(volume: Tensor, factor: int = 4) -> Tensor:
    """Mean of every block of `factor`^3 voxels.

    Args:
        volume: `(B, C, X, Y, Z)`.
        factor: side of a block in voxels.

    Returns:
        `(B, C, X / factor, Y / factor, Z / factor)`, in the units of `volume`.

    Raises:
        ValueError: If it is no such tensor, or a side is no multiple of `factor`.
    """
    if volume.ndim != 5 or any(side % factor for side in volume.shape[2:]):
        msg = (
            f"volume must be (B, C, X, Y, Z) with sides divisible by {factor}, got {tuple(volume.shape)}; "
            "crop or pad it first."
        )
        raise ValueError(msg)
    return F.avg_pool3d(volume, factor)


def upsample_trilinear(volume: Tensor, factor: int = 4) -> Tensor:
    """Trilinear interpolation that keeps voxel centres where they are in space.

    Args:
        volume: `(B, C, X, Y, Z)`.
        factor: ratio of the spacings.

    Returns:
        `(B, C, factor X, factor Y, factor Z)`, in the units of `volume`.
    """
    return F.interpolate(volume, scale_factor=factor, mode="trilinear", align_corners=False)


def project_onto_coarse(
    fine: Tensor, coarse: Tensor, *, window: HounsfieldWindow, factor: int = 4, n_steps: int = 10
) -> Tensor:
    """Change a fine volume, smoothly where it can, so that its block means are the coarse volume.

    Args:
        fine: `(B, C, factor X, factor Y, factor Z)`, HU.
        coarse: `(B, C, X, Y, Z)`, HU.
        window: values that the result may have.
        factor: ratio of the spacings, even.
        n_steps: smooth steps before the exact one, after every clipping; 0 leaves the exact one alone.

    Returns:
        The volume in HU, inside the window; a block whose coarse value lies outside it gets its end.

    Raises:
        ValueError: If the two grids do not fit.
    """
    _check_grids(fine, coarse, factor)
    target = coarse.clamp(window.low_hu, window.high_hu)
    for _ in range(_N_CLIPPINGS if n_steps else 0):
        fine = fine.clamp(window.low_hu, window.high_hu)
        difference = smooth_difference(target - block_mean(fine, factor), n_steps)
        fine = fine + upsample_trilinear(difference, factor)
    return _fit_into_window(shift_blocks(fine, target, factor), target, window, factor)


def smooth_difference(difference: Tensor, n_steps: int) -> Tensor:
    """Coarse volume whose trilinear upsampling is the sum of the smooth steps.

    Args:
        difference: coarse volume less the block means of the fine one.
        n_steps: smooth steps; 0 gives zeros.
    """
    total = torch.zeros_like(difference)
    for _ in range(n_steps):
        total = total + difference - _mean_of_upsampled(total)
    return total


def shift_blocks(volume: Tensor, means: Tensor, factor: int = 4) -> Tensor:
    """Add one value per block so that the block means are these, whatever the window.

    Args:
        volume: `(B, C, factor X, factor Y, factor Z)`.
        means: `(B, C, X, Y, Z)`.
        factor: side of a block in voxels.
    """
    blocks = _blocks(volume, factor)
    shift = (means - block_mean(volume, factor))[:, :, :, None, :, None, :, None]
    return (blocks + shift).reshape(volume.shape)


def round_within_blocks(volume: Tensor, factor: int = 4) -> Tensor:
    """Round to whole HU so that block means stay: of each block the largest fractions go up.

    Args:
        volume: `(B, C, factor X, factor Y, factor Z)`, HU within the range of int16.
        factor: side of a block in voxels.

    Returns:
        int16; every block mean is within `0.5 / factor**3` HU of what it was, every voxel within 1 HU.
    """
    n_slab = max(1, _SLAB_VOXELS // volume[..., :factor, :, :].numel()) * factor
    return torch.cat([_rounded(slab, factor) for slab in volume.split(n_slab, dim=2)], dim=2)


def consistency_error_hu(fine: Tensor, coarse: Tensor, factor: int = 4) -> tuple[float, float]:
    """How far block means are from the coarse volume.

    Args:
        fine: `(B, C, factor X, factor Y, factor Z)`, HU.
        coarse: `(B, C, X, Y, Z)`, HU.
        factor: ratio of the spacings.

    Returns:
        Mean and largest absolute difference in HU.

    Raises:
        ValueError: If the two grids do not fit.
    """
    _check_grids(fine, coarse, factor)
    # 64 values of a thousand HU each cost a single-precision sum its third decimal.
    difference = (_blocks(fine.double(), factor).mean((3, 5, 7)) - coarse.double()).abs()
    return float(difference.mean()), float(difference.max())


def unreachable_blocks(coarse: Tensor, window: HounsfieldWindow) -> Tensor:
    """Coarse voxels that no volume inside the window can have as block mean to 0.5 HU.

    Args:
        coarse: `(B, C, X, Y, Z)`, HU.
        window: values that a refined volume may have.

    Returns:
        `(n, 5)`: index of each such voxel.
    """
    outside = (coarse < window.low_hu - TOLERANCE_HU) | (coarse > window.high_hu + TOLERANCE_HU)
    return outside.nonzero()


def face_gradient_ratio(volume: Tensor, factor: int = 4) -> float:
    """Mean step between neighbours of different blocks over that inside blocks: 1 where no block is visible.

    Args:
        volume: `(B, C, X, Y, Z)`.
        factor: side of a block in voxels.
    """
    faces, inside = [], []
    for axis in (2, 3, 4):
        steps = volume.diff(dim=axis).abs()
        at_face = torch.arange(1, volume.shape[axis]) % factor == 0
        faces.append(steps.index_select(axis, at_face.nonzero()[:, 0]).mean())
        inside.append(steps.index_select(axis, (~at_face).nonzero()[:, 0]).mean())
    return float(sum(faces) / sum(inside))


def _mean_of_upsampled(coarse: Tensor) -> Tensor:
    """`block_mean(upsample_trilinear(coarse))` for every even factor: taps 1/8, 3/4, 1/8 along each axis."""
    for axis in (2, 3, 4):
        n_voxels = coarse.shape[axis]
        first, last = coarse.narrow(axis, 0, 1), coarse.narrow(axis, n_voxels - 1, 1)
        before = torch.cat([first, coarse.narrow(axis, 0, n_voxels - 1)], dim=axis)
        after = torch.cat([coarse.narrow(axis, 1, n_voxels - 1), last], dim=axis)
        coarse = 0.75 * coarse + 0.125 * (before + after)
    return coarse


def _fit_into_window(volume: Tensor, target: Tensor, window: HounsfieldWindow, factor: int) -> Tensor:
    """Clip, and shift each block that clipping touches until its mean is right again."""
    blocks = _blocks(volume, factor)
    touched = (blocks.amin((3, 5, 7)) < window.low_hu) | (blocks.amax((3, 5, 7)) > window.high_hu)
    if not bool(touched.any()):
        return volume
    rows = blocks.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5)
    rows[touched] = _clipped_to_mean(rows[touched], target[touched][:, None], window)
    sides = (factor, factor, factor)
    return rows.unflatten(5, sides).permute(0, 1, 2, 5, 3, 6, 4, 7).reshape(volume.shape)


def _clipped_to_mean(rows: Tensor, target: Tensor, window: HounsfieldWindow) -> Tensor:
    """Shift each row by bisection so that its mean after clipping is the target."""
    low = window.low_hu - rows.amax(1, keepdim=True)
    high = window.high_hu - rows.amin(1, keepdim=True)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        too_low = (rows + middle).clamp(window.low_hu, window.high_hu).mean(1, keepdim=True) < target
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (rows + (low + high) / 2).clamp(window.low_hu, window.high_hu)


def _rounded(volume: Tensor, factor: int) -> Tensor:
    """`round_within_blocks` of one slab."""
    blocks = _blocks(volume, factor).permute(0, 1, 2, 4, 6, 3, 5, 7)
    rows = blocks.flatten(5)
    whole = rows.floor()
    fractions = rows - whole
    n_up = fractions.sum(-1, keepdim=True).round()
    order = fractions.argsort(dim=-1, descending=True)
    goes_up = torch.arange(rows.shape[-1], device=volume.device) < n_up
    whole += torch.zeros_like(whole).scatter_(-1, order, goes_up.to(whole.dtype))
    return whole.reshape(blocks.shape).permute(0, 1, 2, 5, 3, 6, 4, 7).reshape(volume.shape).to(torch.int16)


def _blocks(volume: Tensor, factor: int) -> Tensor:
    """`(B, C, X, factor, Y, factor, Z, factor)`."""
    n_batch, n_channels, *sides = volume.shape
    x, y, z = (side // factor for side in sides)
    return volume.reshape(n_batch, n_channels, x, factor, y, factor, z, factor)


def _check_grids(fine: Tensor, coarse: Tensor, factor: int) -> None:
    wanted = (*coarse.shape[:2], *(factor * side for side in coarse.shape[2:]))
    if coarse.ndim != 5 or tuple(fine.shape) != wanted or factor % 2:
        msg = (
            f"fine must be (B, C, X, Y, Z) with sides an even factor ({factor}) times those of coarse "
            f"{tuple(coarse.shape)}, got {tuple(fine.shape)}; bring both onto matching grids."
        )
        raise ValueError(msg)
