"""The volumes that the gate reads: experts in one order, on one grid, on one intensity map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.core.geometry import SAME_GRID_TOLERANCE_VOXELS, Grid, displacement_voxels, resample
from revoxel.core.intensity import IntensityMap, foreground_mask
from revoxel.experts.names import Expert

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from revoxel.core.volumes import Volume

#: Above this the volumes do not belong together; below it a copy is resampled onto the grid, and reported.
MAX_TOLERANCE_VOXELS = 3.0
DEFAULT_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class ProfileWidths:
    """What the gate is told about the slice profile, one constant plane per number.

    Args:
        estimated: Estimated standard deviation of the profile, divided by the slice separation.
        assumed: Standard deviation that the experts assumed, divided by the slice separation.
        confidence: Of the estimate, 0 to 1; 1 = known.
    """

    estimated: float
    assumed: float
    confidence: float

    def planes(self) -> tuple[float, float, float]:
        """The numbers in channel order."""
        return (self.estimated, self.assumed, self.confidence)


@dataclass(frozen=True, eq=False)
class ExpertStack:
    """Expert volumes of one scan, ready for fusion.

    Args:
        experts: Volumes `(i, j, k)` in input units, on `grid`, in enum order.
        low_on_high: The scan itself, interpolated onto `grid` by cubic B-splines.
        grid: Grid of all of them.
        axis: Slice axis of the scan.
        intensity: The one map of this case, from the scan alone.
        notes: What was repaired on the way, for the report.
    """

    experts: Mapping[Expert, NDArray[np.float32]]
    low_on_high: NDArray[np.float32]
    grid: Grid
    axis: int
    intensity: IntensityMap
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Put the experts into enum order and check their shapes.

        Raises:
            ValueError: If there is no expert or a volume does not have the grid's shape.
        """
        if not self.experts:
            msg = (
                f"experts must name at least one of {', '.join(Expert)}, got none; run revoxel experts first."
            )
            raise ValueError(msg)
        volumes = {expert: self.experts[expert] for expert in Expert if expert in self.experts}
        for name, volume in (*volumes.items(), ("LR", self.low_on_high)):
            if volume.shape != self.grid.shape:
                msg = f"{name} must have the shape {self.grid.shape}, got {volume.shape}; resample it first."
                raise ValueError(msg)
        object.__setattr__(self, "experts", volumes)

    @property
    def order(self) -> tuple[Expert, ...]:
        """The experts present, in channel order."""
        return tuple(self.experts)

    def expert_tensor(self) -> Tensor:
        """Experts on the intensity map, `(1, expert, x, y, z)` with the slice axis last."""
        return torch.stack([self.to_mapped(volume) for volume in self.experts.values()])[None]

    def network_input(self, widths: ProfileWidths | None, *, with_low: bool = True) -> Tensor:
        """Channels of the gate: profile planes (if given), the scan, the experts.

        Args:
            widths: Profile numbers for gates that read them.
            with_low: Whether the gate reads the scan.

        Returns:
            `(1, channel, x, y, z)` with the slice axis last.
        """
        experts = self.expert_tensor()
        channels = [self.to_mapped(self.low_on_high)[None, None], experts] if with_low else [experts]
        if widths is not None:
            planes = torch.tensor(widths.planes(), dtype=experts.dtype).view(1, -1, 1, 1, 1)
            channels.insert(0, planes.expand(1, -1, *experts.shape[2:]))
        return torch.cat(channels, dim=1)

    def agreement(self) -> NDArray[np.bool_]:
        """Voxels where every expert gives exactly the same value, such as a constant background."""
        first, *others = self.experts.values()
        agreed = np.ones(self.grid.shape, dtype=bool)
        for other in others:
            agreed &= other == first
        return agreed

    def to_mapped(self, volume: NDArray[np.float32]) -> Tensor:
        """A volume of this stack on the intensity map, slice axis last."""
        mapped = self.intensity.apply(volume).astype(np.float32, copy=False)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(mapped, self.axis, -1)))

    def to_grid(self, tensor: Tensor) -> NDArray[np.float32]:
        """Axes of a result, `(..., x, y, z)` with the slice axis last, in the order of the file."""
        first_spatial = tensor.ndim - 3
        return np.ascontiguousarray(np.moveaxis(tensor.float().numpy(), -1, first_spatial + self.axis))


def stack_volumes(
    experts: Mapping[Expert, Volume],
    low: Volume,
    axis: int,
    *,
    reference: Grid | None = None,
    convention: Mapping[str, Any] | None = None,
    max_tolerance_voxels: float = MAX_TOLERANCE_VOXELS,
) -> ExpertStack:
    """Bring expert files of one scan onto one grid.

    Args:
        experts: Volumes by expert.
        low: The scan.
        axis: Its slice axis, as an axis of the experts' grid.
        reference: Grid of the result; the first expert's by default.
        convention: Of the intensity map, as the gate was trained with.
        max_tolerance_voxels: Largest offset that is repaired by resampling a copy; more is an error.

    Returns:
        The stack; its notes name every volume that was resampled.

    Raises:
        ValueError: If a volume lies farther away than the tolerance, or there is no expert.
    """
    if not experts:
        msg = f"experts must name at least one of {', '.join(Expert)}, got none; run revoxel experts first."
        raise ValueError(msg)
    grid = reference or next(iter(experts.values())).grid
    aligned: dict[Expert, NDArray[np.float32]] = {}
    notes: list[str] = []
    for expert, volume in experts.items():
        offset = displacement_voxels(grid, volume.grid)
        _refuse_far(expert, volume, offset, max_tolerance_voxels)
        aligned[expert] = volume.data
        if offset > SAME_GRID_TOLERANCE_VOXELS:
            aligned[expert] = resample(volume.data, volume.grid, grid)
            notes.append(f"{expert} lay {offset:.2f} voxels off the grid: a copy was resampled onto it")
    low_on_high = resample(low.data, low.grid, grid)
    return ExpertStack(aligned, low_on_high, grid, axis, intensity_of(low, convention), tuple(notes))


def intensity_of(low: Volume, convention: Mapping[str, Any] | None = None) -> IntensityMap:
    """The one intensity map of a case, from the scan's foreground, never from a truth.

    Args:
        low: The scan.
        convention: `mode` and `percentiles` that the gate was trained with; 0.5 and 99.5 by default.
    """
    mask = foreground_mask(low.data)
    if convention and convention["mode"] == "zscore":
        return IntensityMap.from_zscore(low.data, mask)
    lower, upper = convention["percentiles"] if convention else DEFAULT_PERCENTILES
    return IntensityMap.from_percentiles(low.data, mask, lower, upper)


def _refuse_far(expert: Expert, volume: Volume, offset: float, tolerance: float) -> None:
    if offset > tolerance:
        msg = (
            f"{expert} ({volume.path or 'in memory'}) must lie within {tolerance:g} voxels of the grid, got "
            f"{offset:.2f}; the file belongs to another scan or its header is wrong: resample it first."
        )
        raise ValueError(msg)
