r"""Line integrals through a volume and features spread back along the rays, differentiable and linear.

A plane perpendicular to the central ray is seen purely magnified, so that its image is interpolated along
rows and columns in turn. One weighted `embedding_bag` does a pass for all planes at once and adds them up:
what `grid_sample` per plane gives, faster, the more so backwards. A pixel wider than a voxel averages over
its area instead of picking a point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from revoxel.ct.xray.geometry import GeometryKind, View, XrayGeometry

__all__ = [
    "GeometryKind",
    "View",
    "XrayGeometry",
    "attenuation_per_mm",
    "hounsfield_of",
    "lift",
    "line_integrals",
    "project_views",
    "ray_lengths_mm",
]

WATER_PER_MM = 0.02
Spacing = tuple[float, float, float]


def attenuation_per_mm(hu: Tensor) -> Tensor:
    r"""Linear attenuation at about 70 keV: $\mu = 0.02\,(1 + \mathrm{HU}/1000)$, air and less giving 0.

    Args:
        hu: HU of any shape.

    Returns:
        Attenuation in 1/mm.
    """
    return (WATER_PER_MM * (1 + hu / 1000)).clamp(min=0)


def hounsfield_of(attenuation_per_mm: Tensor) -> Tensor:
    """Undo `attenuation_per_mm` where it did not clip.

    Args:
        attenuation_per_mm: Attenuation in 1/mm.

    Returns:
        HU of the same shape.
    """
    return 1000 * (attenuation_per_mm / WATER_PER_MM - 1)


def line_integrals(attenuation: Tensor, spacing_mm: Spacing, geometry: XrayGeometry, view: View) -> Tensor:
    r"""Integrate along the rays of one view: $p = \sum_k \mu(r_k)\,\Delta / \cos\theta$ over planes $k$.

    Args:
        attenuation: `(batch, 1, x, y, z)` in 1/mm, RAS.
        spacing_mm: Voxel size along x, y, z.
        geometry: Of source and detector.
        view: Which one.

    Returns:
        `(batch, 1, row, column)` in nepers.

    Raises:
        ValueError: If the shape or spacing is wrong, or the source stands inside the volume.
    """
    _check_volume(attenuation, spacing_mm)
    n_x, n_y, n_z = attenuation.shape[2:]
    rays = _rays((n_x, n_y, n_z), spacing_mm, geometry, view)
    volumes = attenuation[:, 0]
    if geometry.kind is GeometryKind.PARALLEL:
        volumes = volumes.sum(dim=view.depth_axis + 1, keepdim=True)
    columns = _taps(rays, attenuation.shape[2 + view.column_axis], spacing_mm[view.column_axis])
    rows = _taps(rays, n_z, spacing_mm[2])
    sums = torch.stack([_sum_planes(volume, columns, rows, view) for volume in volumes])
    return (sums * (rays.obliquity() * spacing_mm[view.depth_axis]).to(sums))[:, None]


def project_views(hu: Tensor, spacing_mm: Spacing, geometry: XrayGeometry) -> Tensor:
    """X-ray a CT from both sides.

    Args:
        hu: `(batch, 1, x, y, z)` in HU, RAS.
        spacing_mm: Voxel size along x, y, z.
        geometry: Of source and detector.

    Returns:
        `(batch, 2, 1, row, column)` in nepers, frontal first.

    Raises:
        ValueError: If the shape or spacing is wrong, or the source stands inside the volume.
    """
    attenuation = attenuation_per_mm(hu)
    return torch.stack([line_integrals(attenuation, spacing_mm, geometry, view) for view in View], dim=1)


def lift(
    features: Tensor, shape: tuple[int, int, int], spacing_mm: Spacing, geometry: XrayGeometry, view: View
) -> Tensor:
    """Spread an image back along its rays: each voxel gets what the detector shows where it is projected.

    Args:
        features: `(batch, channel, row, column)` on the detector of `geometry`, any number of pixels; they
            cover the same square.
        shape: Voxels along x, y, z.
        spacing_mm: Voxel size along x, y, z.
        geometry: Of source and detector.
        view: Which one.

    Returns:
        `(batch, channel, x, y, z)`; 0 where no ray of the detector passes.

    Raises:
        ValueError: If the shapes or the spacing are wrong, or the source stands inside the volume.
    """
    if features.ndim != 4:
        msg = f"features must be (batch, channel, row, column), got {tuple(features.shape)}; add the axes."
        raise ValueError(msg)
    _check_spacing(spacing_mm)
    rays = _rays(shape, spacing_mm, geometry, view)
    rows = _back_weights(rays, shape[2], spacing_mm[2], features.shape[2]).to(features)
    columns = _back_weights(
        rays, shape[view.column_axis], spacing_mm[view.column_axis], features.shape[3]
    ).to(features)
    lifted = torch.einsum("kzr,bcrs,kts->bcktz", rows, features, columns)
    if view is View.FRONTAL:
        lifted = lifted.transpose(2, 3)
    return lifted.expand(-1, -1, *shape)


def ray_lengths_mm(
    shape: tuple[int, int, int], spacing_mm: Spacing, geometry: XrayGeometry, view: View
) -> Tensor:
    """Way of each ray between the first and last face of the volume, as if it were endless sideways.

    Args:
        shape: Voxels along x, y, z.
        spacing_mm: Voxel size along x, y, z.
        geometry: Of source and detector.
        view: Which one.

    Returns:
        `(row, column)` in mm, float64.
    """
    depth_mm = shape[view.depth_axis] * spacing_mm[view.depth_axis]
    return _rays(shape, spacing_mm, geometry, view).obliquity() * depth_mm


@dataclass(frozen=True)
class _Rays:
    """Planes of a view and the detector.

    Attributes:
        ratio: `(plane,)` distance from the source over that of the detector; one plane for parallel rays.
        pixel_mm: Side of a pixel on the detector.
        size: Pixels per side.
        source_to_detector_mm: Infinite for parallel rays.
    """

    ratio: Tensor
    pixel_mm: float
    size: int
    source_to_detector_mm: float

    def positions_mm(self, n: int) -> Tensor:
        """`(n,)` centres of `n` pixels over the detector, the most superior, right or anterior first."""
        return -_centred(n) * self.pixel_mm * self.size / n

    def obliquity(self) -> Tensor:
        r"""`(row, column)` path through a plane over its thickness: $1/\cos\theta$."""
        slope = self.positions_mm(self.size) / self.source_to_detector_mm
        return (1 + slope[:, None] ** 2 + slope[None] ** 2).sqrt()


def _rays(shape: tuple[int, int, int], spacing_mm: Spacing, geometry: XrayGeometry, view: View) -> _Rays:
    axis, pixel_mm = view.depth_axis, geometry.on(shape, spacing_mm).pixel_mm or 0.0
    if geometry.kind is GeometryKind.PARALLEL:
        return _Rays(torch.ones(1, dtype=torch.float64), pixel_mm, geometry.size, math.inf)
    depth_mm = shape[axis] * spacing_mm[axis]
    if geometry.source_to_isocentre_mm <= depth_mm / 2:
        msg = (
            f"source_to_isocentre_mm must exceed half the volume's depth, got "
            f"{geometry.source_to_isocentre_mm:g} for {depth_mm:g} mm; move the source away."
        )
        raise ValueError(msg)
    distances_mm = (
        geometry.source_to_isocentre_mm - view.source_side * _centred(shape[axis]) * spacing_mm[axis]
    )
    detector_mm = geometry.source_to_detector_mm
    return _Rays(distances_mm / detector_mm, pixel_mm, geometry.size, detector_mm)


@dataclass(frozen=True)
class _Taps:
    """Linear interpolation along one axis in each plane.

    Attributes:
        index: `(plane, pixel, tap)` voxel.
        weight: `(plane, pixel, tap)`; 0 outside the volume.
    """

    index: Tensor
    weight: Tensor


def _taps(rays: _Rays, n_voxels: int, spacing_mm: float) -> _Taps:
    """Voxels that the pixels see along one axis of the detector."""
    position = rays.positions_mm(rays.size) * rays.ratio[:, None] / spacing_mm + (n_voxels - 1) / 2
    width = (rays.ratio * rays.pixel_mm / spacing_mm).clamp(min=1)[:, None]
    n_taps = math.ceil(float(width.max()) + 1)
    first = (position - (width + 1) / 2).floor() + 1
    index = first[..., None] + torch.arange(n_taps)
    weight = _overlap(position[..., None] - index, width[..., None])
    inside = (index >= 0) & (index < n_voxels)
    return _Taps(index.clamp(0, n_voxels - 1).to(torch.int32), torch.where(inside, weight, 0.0))


def _overlap(offset: Tensor, width: Tensor) -> Tensor:
    """Share of a window `width` >= 1 voxels wide that a voxel at `offset` covers: a hat for width 1."""
    return ((offset + width / 2).clamp(-0.5, 0.5) - (offset - width / 2).clamp(-0.5, 0.5)) / width


def _sum_planes(volume: Tensor, columns: _Taps, rows: _Taps, view: View) -> Tensor:
    """Interpolate every plane of `(x, y, z)` onto the detector and add them up: `(row, column)`."""
    n_x, n_y, n_z = volume.shape
    plane_step, column_step = (1, n_y) if view is View.FRONTAL else (n_y, 1)
    n_planes, n_columns, n_taps = columns.index.shape
    n_rows = rows.index.shape[1]
    plane = torch.arange(n_planes, dtype=torch.int32)[:, None, None]
    seen = embedding_bag(
        (plane * plane_step + columns.index * column_step).reshape(-1, n_taps).to(volume.device),
        volume.reshape(n_x * n_y, n_z),
        mode="sum",
        per_sample_weights=columns.weight.reshape(-1, n_taps).to(volume),
    )
    return embedding_bag(
        (plane * n_z + rows.index).transpose(0, 1).reshape(n_rows, -1).to(volume.device),
        seen.reshape(n_planes, n_columns, n_z).transpose(1, 2).reshape(n_planes * n_z, n_columns),
        mode="sum",
        per_sample_weights=rows.weight.transpose(0, 1).reshape(n_rows, -1).to(volume),
    )


def _back_weights(rays: _Rays, n_voxels: int, spacing_mm: float, n_pixels: int) -> Tensor:
    """`(plane, voxel, pixel)` weights of the pixels that see a voxel; they sum to 1, or are 0."""
    pixel_mm = rays.pixel_mm * rays.size / n_pixels
    at_detector_mm = _centred(n_voxels) * spacing_mm / rays.ratio[:, None]
    position = (n_pixels - 1) / 2 - at_detector_mm / pixel_mm
    width = (spacing_mm / rays.ratio / pixel_mm).clamp(min=1)[:, None, None]
    weights = _overlap(position[..., None] - torch.arange(n_pixels), width)
    seen = (position > -0.5) & (position < n_pixels - 0.5)
    return torch.where(seen[..., None], weights / weights.sum(dim=2, keepdim=True), 0.0)


def _centred(n: int) -> Tensor:
    """`(n,)` indices counted from their middle, float64."""
    return torch.arange(n, dtype=torch.float64) - (n - 1) / 2


def _check_volume(volume: Tensor, spacing_mm: Spacing) -> None:
    if volume.ndim != 5 or volume.shape[1] != 1:
        msg = f"volume must be (batch, 1, x, y, z), got {tuple(volume.shape)}; add the axes."
        raise ValueError(msg)
    _check_spacing(spacing_mm)


def _check_spacing(spacing_mm: Spacing) -> None:
    if len(spacing_mm) != 3 or not all(math.isfinite(side) and side > 0 for side in spacing_mm):
        msg = f"spacing_mm must be three positive lengths, got {tuple(spacing_mm)}; take the voxel sizes."
        raise ValueError(msg)
