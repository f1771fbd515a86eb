"""A head of its own: the template under a smooth random deformation, pushed aside by a growing mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from revoxel.semivae.simulation.fields import sample, smooth_lattice, unit_lattice, value_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.semivae.simulation.template import TemplateMaps

_DEFORMATION_SD_MM = 4.0
_DEFORMATION_SIGMA_MM = 24.0


@dataclass(frozen=True)
class MassEffect:
    """How a mass of some radius moves what lies around it: outwards, less and less with distance.

    Args:
        centre_mm: `(3,)` from the middle of the volume.
        radius_mm: Of the mass.
        share: Largest displacement over the radius, below 1 so that nothing folds.
        reach_mm: Distance over which the displacement falls to 1/e.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    share: float
    reach_mm: float

    def origin_of(self, points_mm: torch.Tensor) -> torch.Tensor:
        """Where the tissue that is seen at some points came from.

        Args:
            points_mm: `(3, i, j, k)` from the middle of the volume.

        Returns:
            `(3, i, j, k)` in the same coordinates.
        """
        away = points_mm - torch.tensor(self.centre_mm, dtype=points_mm.dtype).reshape(3, 1, 1, 1)
        distance = away.norm(dim=0, keepdim=True)
        outside = ((distance - self.radius_mm) / self.reach_mm).clamp(min=0)
        inside = (distance / self.radius_mm).clamp(max=1)
        moved_mm = self.share * self.radius_mm * inside * torch.exp(-outside)
        return points_mm - away / distance.clamp(min=1e-6) * moved_mm


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The template as one head shows it.

    Args:
        template: What is deformed.
        displacement_mm: `(1, 3, a, b, c)` lattice of displacements over the volume.
    """

    template: TemplateMaps
    displacement_mm: torch.Tensor

    @property
    def half_mm(self) -> torch.Tensor:
        """`(3,)` distance from the middle of the volume to the outermost voxel centres."""
        return torch.tensor(self.template.grid.shape).sub(1).mul(self.template.voxel_mm / 2)

    def points_mm(self) -> torch.Tensor:
        """`(3, i, j, k)` places of all voxels from the middle of the volume."""
        return unit_lattice(self.template.grid.shape) * self.half_mm.reshape(3, 1, 1, 1)

    def brain(self) -> NDArray[np.bool_]:
        """`(i, j, k)` voxels inside the skull, which no tumour moves."""
        shares = sample(self.template.brain[None], self._in_template(self.points_mm()), "zeros")
        return shares[0].numpy() > 0.5

    def tissues(self, mass: MassEffect) -> torch.Tensor:
        """T1, WM, GM and CSF with everything around the mass pushed aside.

        Args:
            mass: What pushes.

        Returns:
            `(4, i, j, k)` float32.
        """
        places = self._in_template(mass.origin_of(self.points_mm()))
        return sample(self.template.tissues[None], places, "zeros")

    def place_of(self, index: NDArray[np.float64]) -> tuple[float, float, float]:
        """Where this head shows a place of the template.

        Args:
            index: `(3,)` voxel of the template, fractions allowed.

        Returns:
            Millimetres from the middle of the volume.
        """
        half_mm = self.half_mm.numpy().astype(np.float64)
        goal_mm = index * self.template.voxel_mm - half_mm
        place_mm = goal_mm
        # Displacements change by a fraction of a millimetre per millimetre: few steps suffice.
        for _ in range(4):
            place_mm = goal_mm - value_at(self.displacement_mm, place_mm / half_mm)
        x, y, z = place_mm.tolist()
        return x, y, z

    def _in_template(self, points_mm: torch.Tensor) -> torch.Tensor:
        half_mm = self.half_mm.reshape(3, 1, 1, 1)
        return (points_mm + sample(self.displacement_mm, points_mm / half_mm)) / half_mm


def draw_anatomy(template: TemplateMaps, rng: np.random.Generator) -> Anatomy:
    """Deform the template.

    Args:
        template: What is deformed.
        rng: Decides how.
    """
    extent_mm = np.array(template.grid.shape) * template.voxel_mm
    lattice = smooth_lattice(3, extent_mm.tolist(), _DEFORMATION_SIGMA_MM, rng)
    return Anatomy(template, lattice * _DEFORMATION_SD_MM)
