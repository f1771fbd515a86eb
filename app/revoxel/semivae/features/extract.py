"""Tumour features of one label map, measured on the crop around the tumour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from revoxel.core.geometry import Grid
from revoxel.semivae.features.mesh import measure_surface
from revoxel.semivae.features.record import FeatureRecord, FeatureSettings, Flag, Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
_DEFAULT = FeatureSettings()


def extract_tumour_features(
    label: Any,
    *,
    affine: ArrayLike | None = None,
    spacing_mm: Sequence[float] | None = None,
    brain: NDArray[np.bool_] | None = None,
    settings: FeatureSettings = _DEFAULT,
) -> FeatureRecord:
    """Measure volume, place and shape of every region of a label map.

    Args:
        label: `(i, j, k)` or `(1, i, j, k)` whole numbers, 0 for the background; array, tensor or MetaTensor
            (which brings its affine).
        affine: `(4, 4)` voxel index to RAS millimetres.
        spacing_mm: Voxel size instead of an affine; the axes are taken as R, A, S then.
        brain: `(i, j, k)` voxels of the brain, to flag a tumour at its edge.
        settings: What to measure.

    Returns:
        The record; all values of an absent region are NaN.

    Raises:
        ValueError: If the labels are not whole numbers of known regions, or the geometry is missing, stated
            twice or impossible; the message names the value.
    """
    volume, grid = located(label, affine, spacing_mm)
    foreground = volume != 0
    box = bounding_box(foreground)
    flags = set() if box else {Flag.EMPTY}
    units = settings.units()
    values = dict.fromkeys(units, float("nan"))
    present = dict.fromkeys(settings.regions, False)
    if box is not None:
        crop = checked_labels(volume[box], settings)
        flags |= _edge_flags(foreground, box, brain)
        for region, labels in settings.regions.items():
            mask = np.isin(crop, labels)
            own = bounding_box(mask)
            present[region] = own is not None
            if own is not None:
                corner = [outer.start + inner.start for outer, inner in zip(box, own, strict=True)]
                origin_mm = grid.world(corner) - _reference_mm(grid, settings)
                values |= _region_values(region, mask[own], origin_mm, grid, settings)
        flags |= _size_flags(values, grid, settings)
    return FeatureRecord(values, present, frozenset(flags), units)


def located(
    label: Any, affine: ArrayLike | None = None, spacing_mm: Sequence[float] | None = None
) -> tuple[NDArray[Any], Grid]:
    """Bring a label map into one form.

    Args:
        label: As of `extract_tumour_features`.
        affine: Likewise.
        spacing_mm: Likewise.

    Returns:
        `(i, j, k)` array and its grid.

    Raises:
        ValueError: If the rank is another, or there is not exactly one source of geometry.
    """
    sources = {
        "a MetaTensor's affine": getattr(label, "affine", None),
        "affine": affine,
        "spacing": spacing_mm,
    }
    given = [name for name, source in sources.items() if source is not None]
    if len(given) != 1:
        msg = f"label must have one geometry, got {' and '.join(given) or 'none'}; give affine or spacing_mm."
        raise ValueError(msg)
    volume = np.asarray(label)
    volume = volume[0] if volume.ndim == 4 and volume.shape[0] == 1 else volume
    if volume.ndim != 3:
        msg = f"label must be (i, j, k) or (1, i, j, k), got shape {volume.shape}; give one label map."
        raise ValueError(msg)
    matrix = _affine_of(spacing_mm) if spacing_mm is not None else np.asarray(sources[given[0]], dtype=float)
    return volume, Grid((volume.shape[0], volume.shape[1], volume.shape[2]), matrix)


def voxel_mm3(grid: Grid) -> float:
    """Volume of one voxel, by the triple product of its edges: exact for whole millimetres.

    Args:
        grid: Of the voxel.
    """
    first, second, third = grid.affine[:3, :3].T
    return abs(float(first @ np.cross(second, third)))


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """Smallest box around the true voxels, by projections.

    Args:
        mask: `(i, j, k)`.

    Returns:
        Slices, or `None` of an empty mask.
    """
    plane: NDArray[np.bool_] = np.any(mask, axis=2)
    lines = (plane.any(axis=1), plane.any(axis=0), mask.any(axis=(0, 1)))
    if not lines[0].any():
        return None
    ends = [np.flatnonzero(line)[[0, -1]] for line in lines]
    i, j, k = (slice(int(first), int(last) + 1) for first, last in ends)
    return i, j, k


def checked_labels(labels: NDArray[Any], settings: FeatureSettings) -> NDArray[np.int16]:
    """Refuse what is no label map of these regions.

    Args:
        labels: Any shape.
        settings: What is known.

    Returns:
        The labels as whole numbers.

    Raises:
        ValueError: If a value is not finite, not whole, or of no region.
    """
    values = np.unique(labels)
    if not np.isfinite(values).all():
        msg = "label must be finite, got NaN or infinity; write the label map again."
        raise ValueError(msg)
    broken = values[values != np.rint(values)]
    if broken.size:
        msg = f"label must hold whole numbers, got {broken[0]:g}; resample labels with nearest neighbour."
        raise ValueError(msg)
    known = {0, *(one for many in settings.regions.values() for one in many)}
    unknown = sorted({int(value) for value in values} - known)
    if unknown:
        msg = f"label must be among {sorted(known)}, got {unknown}; map them first (old BraTS: 4 is 3 now)."
        raise ValueError(msg)
    return labels.astype(np.int16)


def _affine_of(spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
        msg = f"spacing_mm must be three positive lengths, got {list(spacing_mm)}; give mm along each axis."
        raise ValueError(msg)
    return np.diag((*spacing, 1.0))


def _reference_mm(grid: Grid, settings: FeatureSettings) -> NDArray[np.float64]:
    """Where centroids are measured from."""
    if settings.origin is Origin.WORLD:
        return np.zeros(3)
    return grid.world((np.asarray(grid.shape) - 1) / 2)


def _region_values(
    region: str,
    mask: NDArray[np.bool_],
    origin_mm: NDArray[np.float64],
    grid: Grid,
    settings: FeatureSettings,
) -> dict[str, float]:
    matrix = grid.affine[:3, :3]
    indices = np.argwhere(mask)
    volume_mm3 = len(indices) * voxel_mm3(grid)
    centroid_mm = origin_mm + matrix @ indices.mean(axis=0)
    values = {
        "volume_mm3": volume_mm3,
        "log_volume": float(np.log(volume_mm3)),
        **dict(zip(("centroid_r_mm", "centroid_a_mm", "centroid_s_mm"), centroid_mm.tolist(), strict=True)),
        "n_components": float(ndimage.label(mask, _ALL_NEIGHBOURS)[1]),
    }
    if region in settings.shape_regions and len(indices) >= settings.min_voxels:
        values |= _shape_values(mask, indices, matrix, settings)
    return {f"{region}.{name}": value for name, value in values.items()}


def _shape_values(
    mask: NDArray[np.bool_], indices: NDArray[Any], matrix: NDArray[np.float64], settings: FeatureSettings
) -> dict[str, float]:
    surface = measure_surface(mask, matrix, settings.mesh)
    covariance = matrix @ np.cov(indices.T, bias=True) @ matrix.T
    least, minor, major = np.linalg.eigvalsh(covariance).clip(min=0)
    axes = {"elongation": float(np.sqrt(minor / major)), "flatness": float(np.sqrt(least / major))}
    if surface is None:
        return axes
    return {
        "surface_mm2": surface.area_mm2,
        "log_surface": float(np.log(surface.area_mm2)),
        "sphericity": surface.sphericity,
        "solidity": surface.solidity,
        **axes,
    }


def _edge_flags(
    foreground: NDArray[np.bool_], box: tuple[slice, ...], brain: NDArray[np.bool_] | None
) -> set[Flag]:
    flags = set()
    if any(one.start == 0 or one.stop == size for one, size in zip(box, foreground.shape, strict=True)):
        flags.add(Flag.TOUCHES_CROP_BORDER)
    if brain is None:
        return flags
    if brain.shape != foreground.shape:
        msg = f"brain must have the label's shape {foreground.shape}, got {brain.shape}; use its own mask."
        raise ValueError(msg)
    wider = tuple(slice(max(one.start - 1, 0), one.stop + 1) for one in box)
    grown = ndimage.binary_dilation(foreground[wider])
    if (grown & ~brain[wider]).any():
        flags.add(Flag.TOUCHES_MASK_EDGE)
    return flags


def _size_flags(values: dict[str, float], grid: Grid, settings: FeatureSettings) -> set[Flag]:
    flags = set()
    for region in settings.shape_regions:
        if values[f"{region}.n_components"] > 1:
            flags.add(Flag.MULTI_COMPONENT)
        if values[f"{region}.volume_mm3"] / voxel_mm3(grid) < settings.min_voxels - 0.5:
            flags.add(Flag.BELOW_MIN_VOXELS)
    return flags
