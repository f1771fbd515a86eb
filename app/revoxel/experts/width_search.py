"""Which candidate slice width makes a scan equally thick along two axes? The engine of the width estimate."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, hypot

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from revoxel.core.intensity import foreground_mask
from revoxel.core.volumes import Volume
from revoxel.experts.axis_energy import centred, difference, log_energy
from revoxel.experts.profiles import FWHM_PER_STD, SliceProfile
from revoxel.experts.slices import SliceOperator

#: Candidate standard deviations relative to the slice separation: from deep gaps to overlapping slices.
CANDIDATES = tuple(np.geomspace(0.16, 0.95, 10).tolist())
_ORDER = 4
_RIM_MM = 3.0
_INSIDE_SHARE = 0.95
# A voxel counts as a Gaussian in Gaussian profiles and as a box in others: the middle serves both.
_VOXEL_STD_CORRECTION = 0.22
# Heads are longest front to back, so fewer edges face that way: log energy relative to left-right, on brains
# of five people at equal thickness along both axes; whole brain, its mixed differences, and inside it.
_ANATOMY_WHOLE = (0.0, -0.18, 0.03)
_ANATOMY_MIXED = (0.0, -0.06, 0.03)
_ANATOMY_INSIDE = (0.0, -0.22, 0.01)


@dataclass(frozen=True)
class Crossing:
    """Where the energies along both axes agree.

    Args:
        log_width: Log of the standard deviation relative to the separation.
        slope: How fast the log energies part around it, per unit of log width.
    """

    log_width: float
    slope: float


@dataclass(frozen=True, eq=False)
class Scan:
    """The occupied box of a thick-slice volume.

    Args:
        data: Intensities, 99.9th percentile 1.
        inside: 1 for tissue farther than 3 mm in-plane from the outline, else 0.
        spacing_mm: Voxel size per axis.
        direction: `(3, axis)` squared direction cosines of the array axes.
        axis: Slice axis.
    """

    data: NDArray[np.float32]
    inside: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    direction: NDArray[np.float64]
    axis: int

    @classmethod
    def of(cls, volume: Volume, axis: int) -> Scan:
        """Crop a volume to everything brighter than 2 % of its 99.9th percentile."""
        scale = float(np.percentile(np.abs(volume.data[::2, ::2, ::2]), 99.9)) or 1.0
        box = _box(np.abs(volume.data) > 0.02 * scale)
        inside = _without_rim(foreground_mask(volume.data)[box], volume.grid.spacing_mm, axis)
        cosines = volume.grid.affine[:3, :3] / np.array(volume.grid.spacing_mm)
        data = np.asarray(volume.data[box] / scale, dtype=np.float32)
        return cls(data, inside.astype(np.float32), volume.grid.spacing_mm, cosines**2, axis)

    @property
    def separation_mm(self) -> float:
        """Distance between slice centres."""
        return self.spacing_mm[self.axis]

    @property
    def references(self) -> list[int]:
        """The in-plane axes."""
        return [other for other in range(3) if other != self.axis]

    def n_thick(self, reference: int) -> int:
        """Number of thick slices that fit along an in-plane axis."""
        return ceil(self.data.shape[reference] * self.spacing_mm[reference] / self.separation_mm)


def equal_widths(scan: Scan, reference: int) -> tuple[Crossing, Crossing]:
    """Widths at which a scan is as rough along its slice axis as along an in-plane axis.

    Args:
        scan: The scan.
        reference: In-plane axis.

    Returns:
        The crossing of the whole head, outline included, and that of the tissue inside.
    """
    turn = scan.direction[:, scan.axis] - scan.direction[:, reference]
    balances = np.array([_balances(scan, reference, relative) for relative in CANDIDATES])
    anatomy = [float(turn @ energies) for energies in (_ANATOMY_WHOLE, _ANATOMY_MIXED, _ANATOMY_INSIDE)]
    plain, mixed, inside = (_crossing(balances[:, index] - anatomy[index]) for index in range(3))
    # Straight and mixed differences err on different heads.
    return Crossing((plain.log_width + mixed.log_width) / 2, plain.slope), inside


def _balances(scan: Scan, reference: int, relative: float) -> tuple[float, float, float]:
    """Log energy along the slice axis over that along `reference`: straight, mixed, and straight inside."""
    operator = _candidate(scan, reference, relative)
    data = _apply(operator, scan.data, reference)
    tissue = _apply(operator, scan.inside, reference) > _INSIDE_SHARE
    axis = scan.axis
    along, across = difference(data, _ORDER, axis), difference(data, _ORDER, reference)
    whole = log_energy(along) - log_energy(across)
    along, across = centred(along, _ORDER, axis)[tissue], centred(across, _ORDER, reference)[tissue]
    inside = log_energy(along) - log_energy(across)
    mixed = log_energy(_mixed_difference(data, axis, reference))
    return whole, mixed - log_energy(_mixed_difference(data, reference, axis)), inside


def _mixed_difference(data: NDArray[np.float32], axis: int, other: int) -> NDArray[np.float32]:
    return difference(difference(data, _ORDER - 1, axis), 1, other)


def _candidate(scan: Scan, reference: int, relative: float) -> SliceOperator:
    separation_mm, spacing_mm = scan.separation_mm, scan.spacing_mm[reference]
    std_mm = hypot(relative * separation_mm, _VOXEL_STD_CORRECTION * spacing_mm)
    profile = SliceProfile.gauss(FWHM_PER_STD * std_mm)
    n_high = scan.data.shape[reference]
    return SliceOperator.build(scan.n_thick(reference), n_high, spacing_mm, separation_mm, profile)


def _apply(operator: SliceOperator, data: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    lines = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data, axis, -1)))
    return np.ascontiguousarray(np.moveaxis(operator.forward(lines).numpy(), -1, axis))


def _crossing(balance: NDArray[np.float64]) -> Crossing:
    # Energy along the reference axis falls with the candidate's width, so the balance rises through zero.
    rising = np.maximum.accumulate(balance)
    log_widths = np.log(CANDIDATES)
    log_width = float(np.interp(0.0, rising, log_widths))
    near = np.interp(log_width + np.array([-0.15, 0.15]), log_widths, rising)
    return Crossing(log_width, float(near[1] - near[0]) / 0.3)


def _box(bright: NDArray[np.bool_]) -> tuple[slice, ...]:
    found = ndimage.find_objects(bright.astype(np.uint8))
    return found[0] if found else (slice(None),) * 3


def _without_rim(
    tissue: NDArray[np.bool_], spacing_mm: tuple[float, float, float], axis: int
) -> NDArray[np.bool_]:
    in_plane_mm = min(spacing_mm[other] for other in range(3) if other != axis)
    cross = np.expand_dims(ndimage.generate_binary_structure(2, 1), axis)
    return ndimage.binary_erosion(tissue, cross, iterations=ceil(_RIM_MM / in_plane_mm), border_value=1)
