"""A synthetic chest CT: for demonstrations and tests without anyone's data. No scientific meaning."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.ct.hounsfield import AIR_HU, PADDING_HU
from revoxel.ct.simulation.bones import paint_breastbone, paint_ribs, paint_spine
from revoxel.ct.simulation.canvas import Canvas, blank_canvas, texture
from revoxel.ct.simulation.trees import Piece, draw_ends, grow_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[Any]

_SMALLEST = 16
FAT_HU, MUSCLE_HU, LUNG_HU, LIVER_HU = -100.0, 55.0, -860.0, 62.0
_FAT_MM, _WALL_MM = 13.0, 30.0
_CARINA = np.array([0.0, -20.0, 45.0])
_HEART = (-22.0, 22.0, -35.0)
_NOISE_HU = 14.0
_BORDERS_MM = 1.0


@dataclass(frozen=True)
class _Patient:
    """What differs between patients, beside the bending of everything; lengths in mm."""

    half_width_mm: float
    half_depth_mm: float
    dome_mm: float
    blood_hu: float
    phase_mm: float
    table_mm: float


def simulate_thorax(size: int, spacing_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Paint a chest: body, ribs, spine, lungs with vessels and airways, heart, aorta, liver; noise on top.

    Args:
        size: Voxels along every axis.
        spacing_mm: Voxel size; below a field of view of 400 mm the patient is smaller, not cut.
        rng: Source of everything random; another seed is another patient.

    Returns:
        `(x, y, z)` in RAS, HU, from -1023 to about 1000.

    Raises:
        ValueError: If the size is too small or the spacing not positive.
    """
    if size < _SMALLEST or not 0 < spacing_mm < np.inf:
        msg = f"a chest must have size >= {_SMALLEST} and spacing > 0 mm, got {size} and {spacing_mm:g}."
        raise ValueError(msg)
    canvas = blank_canvas(size, spacing_mm, rng, AIR_HU)
    patient = _Patient(
        half_width_mm=rng.uniform(150, 175),
        half_depth_mm=rng.uniform(105, 122),
        dome_mm=rng.uniform(-75, -45),
        blood_hu=float(rng.choice([45.0, 180.0, 260.0])),
        phase_mm=rng.uniform(0, 29),
        table_mm=rng.uniform(6, 14),
    )
    fine = texture(size, max(0.7, _BORDERS_MM / canvas.voxel_mm), rng)
    coarse = texture(size, max(1.5, 9.0 / canvas.voxel_mm), rng)
    _paint_body(canvas, patient, coarse)
    lungs = _paint_lungs(canvas, patient, fine, coarse)
    _paint_bones(canvas, patient, fine)
    _paint_heart(canvas, patient)
    _paint_trees(canvas, patient, lungs, rng)
    noise = texture(size, 0.6, rng)
    return np.maximum(canvas.hu + _NOISE_HU * noise, PADDING_HU + 1).astype(np.float32)


def _body_mm(canvas: Canvas, patient: _Patient, depth_mm: float) -> Image:
    """Distance from the layer that lies `depth_mm` below the skin."""
    radii = (patient.half_width_mm - depth_mm, patient.half_depth_mm - depth_mm, np.inf)
    return canvas.ellipsoid_distance((0, 0, 0), radii)


def _paint_body(canvas: Canvas, patient: _Patient, coarse: Image) -> None:
    y = canvas.axes[1][None, :, None] + patient.half_depth_mm + patient.table_mm
    across = np.abs(canvas.axes[0])[:, None, None] - 190
    # The table is straight, so it is painted on the unbent axes.
    canvas.paint(canvas.inside(np.maximum(np.abs(y) - 9, across)), -250.0)
    canvas.paint(canvas.inside(np.maximum(np.abs(y) - 6, across)), -900.0)
    canvas.paint(canvas.inside(_body_mm(canvas, patient, 0.0)), MUSCLE_HU)
    canvas.paint(canvas.inside(_body_mm(canvas, patient, 2.0)), FAT_HU + 8 * coarse)
    canvas.paint(canvas.inside(_body_mm(canvas, patient, _FAT_MM) + 2 * coarse), MUSCLE_HU + 6 * coarse)


def _paint_lungs(canvas: Canvas, patient: _Patient, fine: Image, coarse: Image) -> Image:
    """Paint what is below the diaphragm, fat of the middle, and both lungs; returns the lungs' share."""
    x, y, z = canvas.points
    cavity_mm = _body_mm(canvas, patient, _WALL_MM + _FAT_MM / 2)
    apex_mm = canvas.ellipsoid_distance((0, -5, -20), (patient.half_width_mm, 140, 165))
    domes = 45 * np.clip(1 - ((np.abs(x) - 65) / 75) ** 2 - (y / 110) ** 2, -1, 1) + 8 * np.sign(x)
    below_mm = z - patient.dome_mm - domes
    middle_mm = 24 + 14 * np.cos(np.pi * np.clip(z / 150, -1, 1)) - np.abs(x)
    lung_mm = np.maximum.reduce([cavity_mm, apex_mm, -below_mm, middle_mm])
    canvas.paint(canvas.inside(np.maximum(cavity_mm, apex_mm)), FAT_HU + 12 * coarse)
    organs = LIVER_HU - 14 * (x < 0) + 5 * coarse
    canvas.paint(canvas.inside(np.maximum(cavity_mm, below_mm + 3)), organs)
    gas = canvas.ellipsoid((-70, 25, patient.dome_mm - 5), (32, 26, 20))
    canvas.paint(gas * (below_mm < -4), AIR_HU)
    # Blood and weight make the lower, rear lung denser.
    density_hu = LUNG_HU - 0.35 * y + 28 * fine + 18 * coarse
    lungs = canvas.inside(lung_mm)
    canvas.paint(lungs, density_hu)
    return lungs


def _paint_bones(canvas: Canvas, patient: _Patient, fine: Image) -> None:
    depth_mm = _WALL_MM + _FAT_MM / 2 - 8
    half_axes_mm = (patient.half_width_mm - depth_mm, patient.half_depth_mm - depth_mm)
    paint_ribs(canvas, _body_mm(canvas, patient, depth_mm), half_axes_mm, 135 + patient.phase_mm)
    paint_breastbone(canvas, half_axes_mm[1] - 2)
    paint_spine(canvas, fine, patient.phase_mm)


def _paint_heart(canvas: Canvas, patient: _Patient) -> None:
    canvas.paint(canvas.ellipsoid(_HEART, (60, 46, 58)), FAT_HU + 20)
    canvas.paint(canvas.ellipsoid(_HEART, (56, 42, 54)), MUSCLE_HU)
    for centre, radii in (
        ((-42, 20, -42), (24, 22, 32)),
        ((2, 34, -34), (24, 20, 34)),
        ((-12, -4, -8), (30, 18, 20)),
    ):
        canvas.paint(canvas.ellipsoid(centre, radii), patient.blood_hu)
    arch = [
        (12, 12, -5),
        (14, 8, 40),
        (8, 0, 68),
        (-6, -18, 76),
        (-22, -38, 66),
        (-28, -44, 30),
        (-26, -44, -210),
    ]
    trunk = [(-8, 26, 0), (-10, 10, 30), (-38, -20, 34)]
    right = [(-10, 2, 30), (38, -20, 28)]
    veins = [(26, 4, -10), (26, 6, 200)]
    for path, radius_mm in ((arch, 12.0), (trunk, 11.0), (right, 9.0), (veins, 8.0)):
        points = np.array(path, dtype=np.float64)
        for ends in pairwise(points):
            canvas.stroke(ends, radius_mm + 1.5, MUSCLE_HU)
            canvas.stroke(ends, radius_mm, patient.blood_hu)


def _paint_trees(canvas: Canvas, patient: _Patient, lungs: Image, rng: np.random.Generator) -> None:
    x = canvas.axes[0][:, None, None]
    airways = [Piece(np.array([0.0, -24.0, 210.0]), _CARINA, 8.5)]
    for side in (-1, 1):
        lung = lungs * (side * x > 0)
        hilum = np.array([38.0 * side, -20.0, 22.0])
        for start, end, radius_mm in grow_tree(hilum, draw_ends(lung, canvas, 450, rng), 0.85, rng):
            canvas.stroke((start, end), radius_mm, patient.blood_hu, lung)
        airways += [Piece(_CARINA, hilum, 6.5), *grow_tree(hilum, draw_ends(lung, canvas, 16, rng), 1.3, rng)]
    for wall_mm, hu in ((1.3, 0.0), (0.0, AIR_HU)):
        for start, end, radius_mm in airways:
            canvas.stroke((start, end), radius_mm + wall_mm, hu)
