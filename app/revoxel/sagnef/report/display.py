"""Volumes as a person sees them: upright, cut to the head, cut through where the experts differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage

from revoxel.core.report import bright_centre

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.core.geometry import Grid
    from revoxel.sagnef.report.material import Material

Value = TypeVar("Value", bound=np.generic)
_MARGIN_MM = 4.0
_SMOOTHING_MM = 4.0
# Experts differ most at the rim of the head, the skull's base and the face, where nobody looks first.
_DEPTH_MM = 15.0
_CENTRAL = ((0.25, 0.75), (0.3, 0.7), (0.4, 0.8))
_STRIDE = 2


class Plane(StrEnum):
    """The three planes, in the order in which people read them."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @property
    def normal(self) -> int:
        """The axis that stands on it: 0 to the right, 1 to the front, 2 up."""
        return {Plane.SAGITTAL: 0, Plane.CORONAL: 1, Plane.AXIAL: 2}[self]


@dataclass(frozen=True, eq=False)
class View:
    """From arrays as stored to arrays with axes to the right, to the front and up, cut to the head.

    Args:
        orientation: From nibabel's `io_orientation`.
        box: What is shown of the upright array.
        spacing_mm: Of the upright array.
        centre: Voxel of the box through which the slices go.
    """

    orientation: NDArray[np.float64]
    box: tuple[slice, ...]
    spacing_mm: tuple[float, float, float]
    centre: tuple[int, int, int] = (0, 0, 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the box."""
        return tuple(part.stop - part.start for part in self.box)

    def cut(self, data: NDArray[Value]) -> NDArray[Value]:
        """The head of a volume, upright.

        Args:
            data: `(i, j, k)` as stored.
        """
        return np.ascontiguousarray(apply_orientation(data, self.orientation)[self.box])

    def slice(self, data: NDArray[Value], plane: Plane) -> NDArray[Value]:
        """One slice of a volume, its rows from top to bottom.

        Args:
            data: `(i, j, k)` as stored.
            plane: Which.
        """
        upright = apply_orientation(data, self.orientation)[self.box]
        return np.ascontiguousarray(np.take(upright, self.centre[plane.normal], axis=plane.normal).T[::-1])

    def size_mm(self, plane: Plane) -> tuple[float, float]:
        """Width and height of a slice.

        Args:
            plane: Which.
        """
        width, height = (axis for axis in range(3) if axis != plane.normal)
        return self.shape[width] * self.spacing_mm[width], self.shape[height] * self.spacing_mm[height]


def view_of(material: Material) -> View:
    """Look at the head, through the planes in which the experts differ most.

    Args:
        material: Volumes of a run.
    """
    grid = material.grid
    orientation = io_orientation(grid.affine)
    spacing_mm = _upright_spacing(grid, orientation)
    head = apply_orientation(material.head, orientation)
    (inside,) = ndimage.find_objects(head.astype(np.uint8))
    margins = [round(_MARGIN_MM / side) for side in spacing_mm]
    box = tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(inside, margins, head.shape, strict=True)
    )
    view = View(orientation, box, spacing_mm)
    return View(orientation, box, spacing_mm, _centre(material, view))


def _upright_spacing(grid: Grid, orientation: NDArray[np.float64]) -> tuple[float, float, float]:
    spacing_mm = [0.0] * 3
    for axis, upright in enumerate(orientation[:, 0].astype(int)):
        spacing_mm[upright] = grid.spacing_mm[axis]
    return spacing_mm[0], spacing_mm[1], spacing_mm[2]


def _centre(material: Material, view: View) -> tuple[int, int, int]:
    volumes = list(material.experts.values())
    if len(volumes) < 2:
        return bright_centre(view.cut(material.fused))
    coarse = (slice(None, None, _STRIDE),) * 3
    step_mm = [_STRIDE * side for side in view.spacing_mm]
    apart = view.cut(np.maximum.reduce(volumes) - np.minimum.reduce(volumes))[coarse]
    depth_mm = ndimage.distance_transform_edt(np.pad(view.cut(material.head)[coarse], 1), step_mm)
    deep = depth_mm[1:-1, 1:-1, 1:-1] > min(_DEPTH_MM, 0.5 * depth_mm.max())
    x, y, z = (_STRIDE * _busiest(apart * deep, axis, _SMOOTHING_MM / step_mm[axis]) for axis in range(3))
    return x, y, z


def _busiest(apart: NDArray[np.float32], axis: int, smoothing: float) -> int:
    """The slice along an axis, in the middle of the head, in which the experts differ most."""
    others = tuple(other for other in range(3) if other != axis)
    line = ndimage.gaussian_filter1d(apart.sum(axis=others, dtype=np.float64), smoothing)
    first, last = (int(share * len(line)) for share in _CENTRAL[axis])
    return first + int(np.argmax(line[first : max(last, first + 1)]))
