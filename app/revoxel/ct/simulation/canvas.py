"""Where a synthetic scan is painted: soft shapes over one another, in millimetres of an adult's body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Image = NDArray[Any]

#: Field of view in which an adult's chest is painted in its own size, mm.
ADULT_MM = 400.0
_N_WAVES = 4


@dataclass(eq=False)
class Canvas:
    """A scan in the making.

    Attributes:
        hu: `(x, y, z)` float32.
        axes: Coordinates of the voxel centres along each axis, adult mm from the middle, right, front and up.
        points: The three coordinates of every voxel, bent a little so that no two patients are alike.
        voxel_mm: Voxel size in adult mm.
    """

    hu: Image
    axes: tuple[Image, Image, Image]
    points: tuple[Image, Image, Image]
    voxel_mm: float

    def paint(self, share: Image, hu: float | Image) -> None:
        """Cover voxels.

        Args:
            share: How much of each voxel, 0 to 1.
            hu: With what.
        """
        self.hu += share * (hu - self.hu)

    def inside(self, distance_mm: Image) -> Image:
        """Share of each voxel within a surface.

        Args:
            distance_mm: From the surface, negative inside.
        """
        return np.clip(0.5 - distance_mm / self.voxel_mm, 0, 1)

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float]) -> Image:
        """Share of each voxel within an ellipsoid.

        Args:
            centre: Middle, mm.
            radii: Half axes, mm; infinite for a cylinder.
        """
        return self.inside(self.ellipsoid_distance(centre, radii))

    def ellipsoid_distance(self, centre: Sequence[float], radii: Sequence[float]) -> Image:
        """Distance from an ellipsoid's surface, exact only near it; negative inside, mm.

        Args:
            centre: Middle, mm.
            radii: Half axes, mm; infinite for a cylinder.
        """
        scaled = zip(self.points, centre, radii, strict=True)
        reach = np.sqrt(sum(((point - middle) / radius) ** 2 for point, middle, radius in scaled))
        return (reach - 1) * min(radii)

    def stroke(
        self, ends: tuple[Image, Image], radius_mm: float, hu: float, where: Image | None = None
    ) -> None:
        """Paint a straight piece of a vessel.

        Args:
            ends: Both ends, mm.
            radius_mm: Of the vessel.
            hu: What it is filled with.
            where: Share of each voxel that it may cover; all if not given.
        """
        window, share = self.tube(*ends, radius_mm)
        part = self.hu[window]
        part += share * (1.0 if where is None else where[window]) * (hu - part)

    def tube(self, start: Image, end: Image, radius_mm: float) -> tuple[tuple[slice, ...], Image]:
        """Share of each voxel within a straight piece of a vessel with round ends.

        Args:
            start: One end, mm.
            end: The other, mm.
            radius_mm: Of the vessel; thinner than a voxel it fills the share of it that it would.

        Returns:
            Part of the scan that may be touched, and the shares there.
        """
        reach = radius_mm + self.voxel_mm
        low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
        window = tuple(
            slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b)))
            for axis, a, b in zip(self.axes, low, high, strict=True)
        )
        grid = np.meshgrid(*(axis[part] for axis, part in zip(self.axes, window, strict=True)), indexing="ij")
        offset = np.stack(grid, axis=-1) - start
        along = end - start
        position = np.clip(offset @ along / max(float(along @ along), 1e-9), 0, 1)
        distance_mm = np.linalg.norm(offset - position[..., None] * along, axis=-1)
        thin = min(1.0, (2 * radius_mm / self.voxel_mm) ** 2)
        return window, thin * self.inside(distance_mm - max(radius_mm, self.voxel_mm / 2))


def blank_canvas(size: int, spacing_mm: float, rng: np.random.Generator, air_hu: float) -> Canvas:
    """Start a scan.

    Args:
        size: Voxels along every axis.
        spacing_mm: Voxel size.
        rng: Source of randomness.
        air_hu: What it is filled with.

    Returns:
        The canvas; a field of view below 400 mm shows a smaller patient, not a part of one.
    """
    voxel_mm = spacing_mm * max(1.0, ADULT_MM / (size * spacing_mm))
    axis = ((np.arange(size) - (size - 1) / 2) * voxel_mm).astype(np.float32)
    grid = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    x, y, z = (_bent(grid, direction, rng) for direction in range(3))
    hu = np.full((size, size, size), air_hu, dtype=np.float32)
    return Canvas(hu, (axis, axis, axis), (x, y, z), voxel_mm)


def texture(size: int, width_voxels: float, rng: np.random.Generator) -> Image:
    """Random field of mean 0 and standard deviation 1.

    Args:
        size: Voxels along every axis.
        width_voxels: Standard deviation of its smoothing.
        rng: Source of randomness.

    Returns:
        `(size, size, size)` float32.
    """
    noise = rng.standard_normal((size, size, size), dtype=np.float32)
    field = gaussian_filter(noise, width_voxels, truncate=3.0, mode="wrap")
    return field / field.std()


def _bent(grid: Sequence[Image], direction: int, rng: np.random.Generator) -> Image:
    """One coordinate, displaced by a few long waves."""
    coordinate = grid[direction] + np.zeros(np.broadcast_shapes(*(part.shape for part in grid)), np.float32)
    for _ in range(_N_WAVES):
        wave = rng.normal(size=3)
        wave *= rng.uniform(0.6, 1.8) * 2 * np.pi / ADULT_MM / np.linalg.norm(wave)
        phase = sum(step * part for step, part in zip(wave, grid, strict=True)) + rng.uniform(0, 2 * np.pi)
        coordinate += np.float32(rng.uniform(1, 3.5)) * np.sin(phase).astype(np.float32)
    return coordinate
