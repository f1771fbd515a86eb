"""The bones of a synthetic chest: vertebrae with discs and canal, sloping ribs, the breastbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.ct.simulation.canvas import Canvas

CORTEX_HU, MARROW_HU, DISC_HU, CANAL_HU = 780.0, 210.0, 90.0, 20.0
SPINE_Y_MM = -54.0
_VERTEBRA_MM = 29.0
_DISC_SHARE = 0.2
_RIB_GAP_MM = 27.0
_RIB_DROP_MM = 75.0
_RIB_MM = (4.5, 6.5)
_CORTEX_MM = 2.2


def paint_spine(canvas: Canvas, spongy: NDArray[Any], phase_mm: float) -> None:
    """Paint vertebrae, discs, arches and the canal.

    Args:
        canvas: Where.
        spongy: Texture of the marrow, mean 0 and standard deviation 1.
        phase_mm: Height of a disc.
    """
    x, y, z = canvas.points
    level = ((z - phase_mm) / _VERTEBRA_MM) % 1.0
    # Vertebral bodies are waisted: widest at their end plates.
    radius_mm = 17.0 + 2.5 * np.cos(2 * np.pi * level)
    body_mm = np.hypot(x / 1.2, y - SPINE_Y_MM) - radius_mm
    plate_mm = (_DISC_SHARE / 2 - np.minimum(level, 1 - level)) * _VERTEBRA_MM
    marrow_hu = MARROW_HU + 45 * spongy
    canal_mm = np.hypot(x, y - SPINE_Y_MM + 24)
    arch_mm = np.abs(canal_mm - 10) - 3
    spine_mm = np.maximum(np.maximum(np.abs(x) - 3, np.abs(y - SPINE_Y_MM + 36) - 8), plate_mm)
    canvas.paint(canvas.inside(np.maximum(arch_mm, plate_mm)), CORTEX_HU - 250)
    canvas.paint(canvas.inside(spine_mm), CORTEX_HU - 300)
    canvas.paint(canvas.inside(body_mm), DISC_HU)
    canvas.paint(canvas.inside(np.maximum(body_mm, plate_mm)), CORTEX_HU)
    canvas.paint(canvas.inside(np.maximum(body_mm + _CORTEX_MM, plate_mm + _CORTEX_MM)), marrow_hu)
    canvas.paint(canvas.inside(canal_mm - 7.5), CANAL_HU)


def paint_ribs(
    canvas: Canvas, wall_mm: NDArray[Any], half_axes_mm: tuple[float, float], top_mm: float
) -> None:
    """Paint ribs around the chest, highest at the back, up to the breastbone.

    Args:
        canvas: Where.
        wall_mm: Distance from the middle of the chest wall.
        half_axes_mm: Of the chest wall, across and front to back.
        top_mm: Height of the highest rib at the back.
    """
    x, y, z = canvas.points
    turn = np.arctan2(np.abs(x) / half_axes_mm[0], -y / half_axes_mm[1]) / np.pi
    fallen_mm = top_mm - z - _RIB_DROP_MM * turn
    along_mm = (fallen_mm + _RIB_GAP_MM / 2) % _RIB_GAP_MM - _RIB_GAP_MM / 2
    for shrink_mm, hu in ((0.0, CORTEX_HU), (_CORTEX_MM, MARROW_HU + 60)):
        thick, high = (radius - shrink_mm for radius in _RIB_MM)
        distance_mm = (np.hypot(wall_mm / thick, along_mm / high) - 1) * thick
        # Ends where cartilage begins, and above the first and below the tenth rib.
        ends_mm = np.maximum((turn - 0.86) * 150, np.maximum(-fallen_mm - 10, fallen_mm - 9.6 * _RIB_GAP_MM))
        canvas.paint(canvas.inside(np.maximum(distance_mm, ends_mm)), hu)


def paint_breastbone(canvas: Canvas, front_mm: float) -> None:
    """Paint the breastbone behind the front wall.

    Args:
        canvas: Where.
        front_mm: How far in front of the middle it lies.
    """
    x, y, z = canvas.points
    flat_mm = np.maximum(np.maximum(np.abs(x) - 17, np.abs(y - front_mm) - 5.5), np.abs(z - 15) - 80)
    canvas.paint(canvas.inside(flat_mm), CORTEX_HU - 150)
    canvas.paint(canvas.inside(flat_mm + _CORTEX_MM), MARROW_HU)
