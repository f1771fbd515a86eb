"""Make a thick-slice volume from a finer one: blur once, sample at slice centres, write the right affine."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from revoxel.core.geometry import MIN_ANISOTROPY, Grid, thick_grid
from revoxel.core.provenance import sha256_of, write_sidecar
from revoxel.core.volumes import Volume, volume_sidecar, write_volume
from revoxel.experts.profiles import ProfileKind, SliceProfile
from revoxel.experts.slices import SliceOperator

_NOISE_PERCENTILE = 99.9


def simulate(
    volume: Volume,
    *,
    profile: SliceProfile,
    separation_mm: float,
    axis: int,
    noise_std: float = 0.0,
    seed: int = 0,
) -> Volume:
    """Acquire a volume again with thick slices.

    The first edges of both volumes coincide. A length that is no multiple of the separation is padded by
    repeating the last sample, never shifted or trimmed.

    Args:
        volume: Fine volume.
        profile: Physical slice profile; its thickness may differ from the separation (gap or overlap).
        separation_mm: Distance between slice centres.
        axis: Array axis that becomes thick.
        noise_std: Standard deviation of added Gaussian noise, as a fraction of the 99.9th percentile of the
            thick slices. Voxels that are exactly zero (a stripped background) stay zero.
        seed: Seed of the noise.

    Returns:
        Thick slices in the units of `volume`, with the nominal thickness.

    Raises:
        ValueError: If the separation is finer than the voxels, the noise negative, or the axis not 0, 1 or 2.
    """
    _check(volume.grid, separation_mm, axis, noise_std)
    grid = thick_grid(volume.grid, axis, separation_mm)
    operator = SliceOperator.build(
        grid.shape[axis], volume.grid.shape[axis], volume.grid.spacing_mm[axis], separation_mm, profile
    )
    data = _apply(operator, volume.data, axis)
    if noise_std > 0:
        data = _with_noise(data, noise_std, seed)
    return Volume(data=data, grid=grid, thickness_mm=nominal_thickness_mm(profile))


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """How to acquire a volume with thick slices.

    Args:
        profile: Physical slice profile.
        separation_mm: Distance between slice centres.
        axis: Array axis that becomes thick.
        noise_std: Noise as a fraction of the 99.9th percentile of the thick slices.
        seed: Seed of the noise.
    """

    profile: SliceProfile
    separation_mm: float
    axis: int
    noise_std: float = 0.0
    seed: int = 0


def write_simulation(
    volume: Volume, acquisition: Acquisition, path: Path, *, overwrite: bool = False
) -> Volume:
    """Simulate and keep: a NIfTI file and, beside it, a JSON record of how it was made.

    Args:
        volume: Fine volume.
        acquisition: What to simulate.
        path: Target, `.nii` or `.nii.gz`.
        overwrite: Replace existing files.

    Returns:
        The thick slices.

    Raises:
        FileExistsError: If a file exists and `overwrite` is off.
        OSError: If a file cannot be written.
        ValueError: If the acquisition makes no sense for the volume.
    """
    thick = simulate(
        volume,
        profile=acquisition.profile,
        separation_mm=acquisition.separation_mm,
        axis=acquisition.axis,
        noise_std=acquisition.noise_std,
        seed=acquisition.seed,
    )
    write_volume(path, thick.data, thick.grid, overwrite=overwrite)
    write_sidecar(volume_sidecar(path), _record(volume, acquisition), overwrite=overwrite)
    return thick


def _record(volume: Volume, acquisition: Acquisition) -> dict[str, object]:
    profile = acquisition.profile
    return {
        "simulated": True,
        "source": volume.path,
        "source_sha256": sha256_of(volume.path) if volume.path is not None else None,
        "profile": profile.label,
        "profile_std_mm": profile.std_mm,
        "thickness_mm": nominal_thickness_mm(profile),
        "separation_mm": acquisition.separation_mm,
        "axis": acquisition.axis,
        "noise_std": acquisition.noise_std,
        "seed": acquisition.seed,
        "high_resolution_grid": {"shape": volume.grid.shape, "affine": volume.grid.affine},
    }


def nominal_thickness_mm(profile: SliceProfile) -> float:
    """Thickness that a scanner would state for a profile: its width, or the equivalent FWHM of an array."""
    return profile.fwhm_mm if profile.kind is ProfileKind.ARRAY else profile.width_mm


def default_axis(grid: Grid) -> int:
    """Axis to thicken when none is given: the coarsest one, or the one nearest head-foot if isotropic."""
    spacing_mm = grid.spacing_mm
    if max(spacing_mm) >= MIN_ANISOTROPY * min(spacing_mm):
        return int(np.argmax(spacing_mm))
    directions = np.abs(grid.affine[2, :3]) / np.array(spacing_mm)
    return int(np.argmax(directions))


def _apply(operator: SliceOperator, data: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    lines = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data, axis, -1), dtype=np.float32))
    thick = operator.forward(lines).movedim(-1, axis)
    return np.ascontiguousarray(thick.numpy())


def _with_noise(data: NDArray[np.float32], noise_std: float, seed: int) -> NDArray[np.float32]:
    scale = noise_std * float(np.percentile(np.abs(data), _NOISE_PERCENTILE))
    noise = np.random.default_rng(seed).standard_normal(data.shape, dtype=np.float32)
    return np.where(data == 0, data, data + np.float32(scale) * noise)


def _check(grid: Grid, separation_mm: float, axis: int, noise_std: float) -> None:
    if axis not in (0, 1, 2):
        msg = f"axis must be 0, 1 or 2, got {axis}; count the array axes i, j, k from zero."
        raise ValueError(msg)
    spacing_mm = grid.spacing_mm[axis]
    if not (isfinite(separation_mm) and separation_mm >= spacing_mm):
        msg = (
            f"separation_mm must be at least the voxel size {spacing_mm:g} mm along axis {axis}, "
            f"got {separation_mm:g}; thick slices lie further apart than voxels."
        )
        raise ValueError(msg)
    if not (isfinite(noise_std) and noise_std >= 0):
        msg = f"noise_std must be a fraction of the 99.9th percentile, 0 or more, got {noise_std:g}."
        raise ValueError(msg)
