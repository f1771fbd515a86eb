"""A CT whose every part is known: a bright sphere off the middle of air, on any grid."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from revoxel.core.geometry import Grid
from revoxel.ct.hounsfield import AIR_HU

CENTRE_MM = np.array([11.0, -23.0, 40.0])
RADIUS_MM = 14.0


def grid_around(shape=(40, 44, 36), spacing_mm=(1.5, 1.5, 1.5), axes="LPS", turned_deg=0.0) -> Grid:
    """Grid whose middle is near the sphere, its axes named as nibabel does."""
    directions = {
        "R": (1, 0, 0),
        "L": (-1, 0, 0),
        "A": (0, 1, 0),
        "P": (0, -1, 0),
        "S": (0, 0, 1),
        "I": (0, 0, -1),
    }
    turn = Rotation.from_euler("xyz", (turned_deg, -turned_deg / 2, turned_deg), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([directions[axis] for axis in axes], float).T @ np.diag(spacing_mm)
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] = CENTRE_MM + np.array((2.3, -3.1, 1.7)) - middle
    return Grid(shape, affine)


def sphere_hu(grid: Grid, soft_mm: float = 1.0) -> NDArray[np.float32]:
    """A soft-edged sphere of 40 HU in air, as if measured on the grid."""
    points = grid.world(np.stack(np.indices(grid.shape), axis=-1))
    distance_mm = np.linalg.norm(points - CENTRE_MM, axis=-1)
    inside = 0.5 - 0.5 * np.tanh((distance_mm - RADIUS_MM) / soft_mm)
    return (AIR_HU + (40 - AIR_HU) * inside).astype(np.float32)
