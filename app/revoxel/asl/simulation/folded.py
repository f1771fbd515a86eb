"""The hard phantom: an elliptic brain with folded cortex, ventricles, smooth fields, texture and lesions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from revoxel.asl.simulation.shapes import Maps, Tissue, disc_distance, smooth_field, soft_step

if TYPE_CHECKING:
    from revoxel.asl.simulation.shapes import Image

_DELAYED_SHARE = 0.35
_MOST_LESIONS = 3
_CBF_RANGE_ML_100G_MIN = (0.0, 200.0)
_ATT_RANGE_MS = (300.0, 3200.0)


@dataclass(frozen=True)
class _Canvas:
    """Size of the slice, voxels per unit length, and the source of randomness."""

    size: int
    scale: float
    rng: np.random.Generator

    def field(self, width: float) -> Image:
        """A smooth random field."""
        return smooth_field(self.size, width * self.scale, self.rng)

    def number(self, low: float, high: float) -> float:
        """A random number."""
        return float(self.rng.uniform(low, high))


def folded_maps(size: int, voxel_scale: float, rng: np.random.Generator) -> Maps:
    """Draw one.

    Args:
        size: Rows and columns.
        voxel_scale: Voxels along a length that had one voxel.
        rng: Source of randomness.

    Returns:
        Its maps.
    """
    canvas = _Canvas(size, voxel_scale, rng)
    centre = size / 2 + rng.uniform(-0.03, 0.03, 2) * size
    turn = canvas.number(-0.3, 0.3)
    half_width, stretch = canvas.number(0.35, 0.40) * size, canvas.number(1.08, 1.22)
    # Distance from the middle: 1 at the brain's surface, which is a little uneven.
    depth = disc_distance(size, centre, stretch, turn) / half_width + 0.02 * canvas.field(6)
    shares = _shares(canvas, depth, _ventricles(canvas, centre, turn, half_width))
    maps = _perfused(canvas, shares, depth < 1)
    maps = _delayed(canvas, maps) if rng.random() < _DELAYED_SHARE else maps
    for number in range(1, 1 + rng.integers(0, _MOST_LESIONS + 1)):
        maps = _with_lesion(canvas, maps, number)
    return maps._replace(cbf=maps.cbf.clip(*_CBF_RANGE_ML_100G_MIN), att=maps.att.clip(*_ATT_RANGE_MS))


def _ventricles(canvas: _Canvas, centre: Image, turn: float, half_width: float) -> Image:
    """Two slim horns beside the midline; distance in units of their half width, below 1 inside."""
    across = np.array([-np.sin(turn), np.cos(turn)])
    offset, width = canvas.number(0.12, 0.2) * half_width, canvas.number(0.05, 0.09) * half_width
    horns = [
        disc_distance(canvas.size, centre + side * offset * across, canvas.number(3, 5), turn + side * 0.2)
        for side in (-1, 1)
    ]
    return np.minimum(*horns) / width


def _shares(canvas: _Canvas, depth: Image, ventricles: Image) -> dict[Tissue, Image]:
    """Share of every voxel that belongs to each tissue; sums to 1."""
    # As fine as the phantoms that the goals were stated on, measured on 60 slices at SNR60 10: least squares
    # 1.56 / 107, and 4.15 / 47 on images blurred by one voxel (3.63 / 47 if the blur stays inside the mask).
    # The zero lines of a random field are a ribbon that folds: grey matter, thicker near the surface.
    folds = np.abs(canvas.field(3.2)) - (0.25 + 0.55 * soft_step(0.55 - depth, 0.25))
    nuclei = 0.35 - np.abs(depth - 0.42) / 0.15 - 0.5 * canvas.field(4)
    grey = soft_step(folds, 0.25)
    grey = np.maximum(grey, soft_step(-nuclei, 0.3))
    sulci = soft_step(1.02 - depth + 0.05 * canvas.field(2), 0.03)
    csf = np.maximum(sulci, soft_step(ventricles - 1, 0.3))
    return {
        Tissue.CSF: csf,
        Tissue.GREY_MATTER: (1 - csf) * grey,
        Tissue.WHITE_MATTER: (1 - csf) * (1 - grey),
    }


def _perfused(canvas: _Canvas, shares: dict[Tissue, Image], mask: Image) -> Maps:
    grey, white, fluid = (shares[kind] for kind in (Tissue.GREY_MATTER, Tissue.WHITE_MATTER, Tissue.CSF))
    cbf = (grey * canvas.number(50, 75) + white * canvas.number(18, 28) + fluid * canvas.number(1, 5)) * (
        1 + 0.12 * canvas.field(8)
    )
    # As strong as that which the blur leaves in `seed` phantoms: 0.85 ml/100g/min in grey matter.
    texture = gaussian_filter(canvas.rng.standard_normal(cbf.shape, dtype=np.float32), 0.6 * canvas.scale)
    cbf = cbf * (1 + 0.03 * texture)
    arrival = canvas.number(1000, 1500)
    att = arrival + white * canvas.number(150, 400) + 150 * canvas.field(10) + 10 * canvas.field(1)
    tissue = np.array(list(shares))[np.argmax(list(shares.values()), axis=0)]
    return Maps(cbf, att, mask, tissue, np.zeros(cbf.shape, int))


def _delayed(canvas: _Canvas, maps: Maps) -> Maps:
    """Territory behind a narrowed artery: half a plane whose edge is uneven."""
    size, angle = canvas.size, canvas.number(0, 2 * np.pi)
    rows, columns = np.ogrid[:size, :size]
    along = (rows - size / 2) * np.cos(angle) + (columns - size / 2) * np.sin(angle)
    inside = soft_step(0.1 * size - along + 2 * canvas.scale * canvas.field(5), 2 * canvas.scale)
    late, low = canvas.number(300, 1000), canvas.number(0.6, 1.0)
    return maps._replace(cbf=maps.cbf * (1 - inside * (1 - low)), att=maps.att + inside * late)


def _with_lesion(canvas: _Canvas, maps: Maps, number: int) -> Maps:
    inside_brain = np.argwhere(maps.mask)
    centre = canvas.rng.choice(inside_brain)
    radius = canvas.number(2, 12) * canvas.scale
    distance = disc_distance(canvas.size, centre, canvas.number(1, 1.5), canvas.number(0, np.pi))
    share = soft_step(distance - radius, 0.7 * canvas.scale)
    factor, late = (
        (canvas.number(0.1, 0.6), canvas.number(300, 1200))
        if canvas.rng.random() < 0.6
        else (canvas.number(1.4, 2.2), canvas.number(-500, 0))
    )
    return maps._replace(
        cbf=maps.cbf * (1 + share * (factor - 1)),
        att=maps.att + share * late,
        lesion=np.where(share > 0.5, number, maps.lesion),
    )
