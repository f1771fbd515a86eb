"""Surface, volume and hull of a mask, by the definitions of IBSI and pyradiomics.

The mask is meshed at 0.5 by marching cubes; with the mesh's own volume V and surface A, sphericity is
(36 pi V^2)^(1/3) / A and solidity V over the volume of the convex hull of the vertices (Zwanenburg et al.,
Radiology 2020, IBSI). Voxel volume with mesh surface, or a hull of voxel centres, would give values above 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.measure import marching_cubes, mesh_surface_area

from revoxel.semivae.features.record import Mesh

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVEL = 0.5
_SMOOTH_SIGMA_VOXELS = 0.7
_SMOOTH_MARGIN_VOXELS = 4


@dataclass(frozen=True)
class Surface:
    """Mesh measures of one mask.

    Attributes:
        volume_mm3: Inside the mesh.
        area_mm2: Of the mesh.
        hull_mm3: Inside the convex hull of its vertices.
    """

    volume_mm3: float
    area_mm2: float
    hull_mm3: float

    @property
    def sphericity(self) -> float:
        """Surface of the sphere of equal volume over the surface; 1 for a smooth sphere."""
        return float((36 * np.pi * self.volume_mm3**2) ** (1 / 3) / self.area_mm2)

    @property
    def solidity(self) -> float:
        """Share of the convex hull that is filled."""
        return self.volume_mm3 / self.hull_mm3


def measure_surface(mask: NDArray[np.bool_], matrix: NDArray[np.float64], mesh: Mesh) -> Surface | None:
    """Mesh a mask and measure it.

    Args:
        mask: `(i, j, k)`, cropped to its voxels: cost grows with the box.
        matrix: `(3, 3)` from voxel steps to millimetres.
        mesh: What is meshed.

    Returns:
        The measures; `None` where a smoothed mask is too thin to reach 0.5 anywhere.
    """
    field = _field(mask, mesh)
    if field.max() <= _LEVEL:
        return None
    vertices, faces, _, _ = marching_cubes(field, _LEVEL)
    points_mm = np.asarray(vertices, dtype=np.float64) @ matrix.T
    return Surface(
        _enclosed_mm3(points_mm, faces),
        float(mesh_surface_area(points_mm, faces)),
        float(ConvexHull(points_mm).volume),
    )


def _field(mask: NDArray[np.bool_], mesh: Mesh) -> NDArray[np.float32]:
    if mesh is Mesh.BINARY:
        return np.pad(mask, 1).astype(np.float32)
    padded = np.pad(mask, _SMOOTH_MARGIN_VOXELS).astype(np.float32)
    return ndimage.gaussian_filter(padded, _SMOOTH_SIGMA_VOXELS)


def _enclosed_mm3(points_mm: NDArray[np.float64], faces: NDArray[Any]) -> float:
    """Sum of signed tetrahedra from one point to every face (divergence theorem)."""
    first, second, third = (points_mm - points_mm[0])[faces.T]
    return abs(float(np.einsum("fi,fi->", first, np.cross(second, third)))) / 6.0
