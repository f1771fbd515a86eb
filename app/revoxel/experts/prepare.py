"""From a volume in its own orientation to the problem the experts solve, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from revoxel.core.geometry import Grid, isotropic_grid, resample, slice_axis
from revoxel.core.volumes import Volume
from revoxel.experts.problem import SliceProblem
from revoxel.experts.profiles import SliceProfile

_RIM_VOXELS = 8  # kept around the tissue, so that in-plane filters see the background


@dataclass(frozen=True, eq=False)
class Prepared:
    """A thick-slice volume ready for the experts.

    Args:
        problem: Scaled slices of the occupied in-plane box, slice axis last.
        high_grid: Grid of the results, axes as in the input.
        axis: Slice axis of the input.
        scale: Input units per unit of the scaled intensity.
        box: In-plane region that `problem` covers.
        background: Most common value of the input; what lies outside the box.
        low: `(x, y, n_low)` whole slices on the fine in-plane grid, input units, slice axis last.
        resampled_in_plane: Whether the in-plane spacing had to change.
    """

    problem: SliceProblem
    high_grid: Grid
    axis: int
    scale: float
    box: tuple[slice, slice]
    background: float
    low: Tensor
    resampled_in_plane: bool

    def restore(self, fine: Tensor) -> NDArray[np.float32]:
        """An expert's `(x, y, n_high)` result in input units on `high_grid`.

        Samples whose slices all hold the constant background get exactly that constant.
        """
        whole = torch.full((*self.low.shape[:2], self.problem.n_high), self.background)
        inside = whole[self.box]
        inside.copy_(fine * self.scale)
        inside[self.problem.operator.background(self.problem.low)] = self.background
        return np.ascontiguousarray(whole.movedim(-1, self.axis).numpy())


def prepare(volume: Volume, profile: SliceProfile, voxel_mm: float | None = 1.0) -> Prepared:
    """Put a thick-slice volume on the fine in-plane grid, scale it and crop it to the occupied box.

    Args:
        volume: The thick-slice volume.
        profile: Its slice profile.
        voxel_mm: Isotropic voxel size of the result; `None` keeps the in-plane size.

    Raises:
        ValueError: If the volume is isotropic already.
    """
    axis = slice_axis(volume.grid)
    high_grid = isotropic_grid(volume.grid, axis, voxel_mm)
    thick = _in_plane_grid(volume.grid, high_grid, axis)
    same = thick.shape == volume.grid.shape
    background = _common_value(volume.data)
    data = volume.data if same else _resample_in_plane(volume, thick, background)
    low = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data, axis, -1), dtype=np.float32))
    tissue = low != background
    box = (_span(tissue.any(-1).any(1)), _span(tissue.any(-1).any(0)))
    scale = _scale(low[tissue].abs())
    problem = SliceProblem(
        low=(low[box] / scale).contiguous(),
        n_high=high_grid.shape[axis],
        spacing_high_mm=high_grid.spacing_mm[axis],
        separation_mm=volume.grid.spacing_mm[axis],
        profile=profile,
    )
    return Prepared(problem, high_grid, axis, scale, box, background, low, not same)


def _in_plane_grid(low: Grid, high: Grid, axis: int) -> Grid:
    affine = high.affine.copy()
    affine[:3, axis] = low.affine[:3, axis]
    # Both grids start at the same outer edge, so the first slice lies half the difference further in.
    affine[:3, 3] += (low.affine[:3, axis] - high.affine[:3, axis]) / 2
    shape = list(high.shape)
    shape[axis] = low.shape[axis]
    return Grid((shape[0], shape[1], shape[2]), affine)


def _resample_in_plane(volume: Volume, thick: Grid, background: float) -> NDArray[np.float32]:
    data = resample(volume.data, volume.grid, thick)
    tissue = resample((volume.data != background).astype(np.float32), volume.grid, thick, order=1)
    # A spline rings into a constant background; what no tissue voxel touches stays that constant.
    return np.where(tissue > 0, data, np.float32(background))


def _common_value(data: NDArray[np.float32]) -> float:
    values, counts = np.unique(data[::3, ::3, ::3], return_counts=True)
    return float(values[counts.argmax()])


def _span(occupied: Tensor) -> slice:
    index = torch.nonzero(occupied).flatten()
    if not index.numel():
        return slice(0, len(occupied))
    return slice(max(0, int(index[0]) - _RIM_VOXELS), min(len(occupied), int(index[-1]) + 1 + _RIM_VOXELS))


def _scale(tissue: Tensor) -> float:
    sample = tissue[:: max(1, math.ceil(tissue.numel() / 1_000_000))]
    return float(torch.quantile(sample, 0.999)) if sample.numel() else 1.0
