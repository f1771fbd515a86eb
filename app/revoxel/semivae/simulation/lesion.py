"""Shape and place of a tumour, free of its size: every voxel has a radius at which the tumour reaches it.

A tumour of any size is then a threshold: all visits of a patient share one shape, and a wanted volume is
met to the voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from revoxel.semivae.simulation.fields import sample, smooth_lattice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.semivae.simulation.anatomy import Anatomy
    from revoxel.semivae.simulation.template import TemplateMaps

NCR: Final = 1
ED: Final = 2
ET: Final = 3
_ANISOTROPY_LOG_SD = 0.18
_OEDEMA_CHANCE = 0.7
_HALO_MM = (4.0, 14.0)
_MOST_HALO = 1.2
_INNER = (0.45, 0.8)
_PUSH = (0.10, 0.45)
_PUSH_REACH = (0.6, 1.2)
_GREY_OEDEMA = 0.2
_HALO_ROUGHNESS = 0.3
_GLIOMA_DEPTH_MM = 8.0
_MENINGIOMA_DEPTH_MM = 6.0
_BUMP_SIZE = 0.3
_SPHERE = 0.8
_LEAST_ROUGH = 0.4


class Kind(StrEnum):
    """What a tumour resembles."""

    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"


_NECROSIS_CHANCE = {Kind.GLIOMA: 0.6, Kind.MENINGIOMA: 0.1}
#: Lowest MNI height of a centre: gliomas above the tentorium, meningiomas not below the cerebellum.
_LOWEST_MM = {Kind.GLIOMA: -20.0, Kind.MENINGIOMA: -40.0}
_ROUGHNESS = {Kind.GLIOMA: 0.2, Kind.MENINGIOMA: 0.1}


@dataclass(frozen=True, eq=False)
class Lesion:
    """A tumour without its size.

    Args:
        kind: What it resembles.
        centre_mm: From the middle of the volume.
        to_sphere: `(3, 3)`, determinant 1, turns the ellipsoid into a sphere.
        bumps: `(1, 3, a, a, a)` unit variance, of core, necrosis and halo, looked up by direction.
        inner: Size of the necrosis relative to the core; 0 for none.
        halo: How far oedema reaches in pure white matter, over the radius; 0 for none.
        push: Largest displacement of the tissue around over the radius.
        push_reach: Its decay length over the radius.
    """

    kind: Kind
    centre_mm: tuple[float, float, float]
    to_sphere: NDArray[np.float64]
    bumps: torch.Tensor
    inner: float
    halo: float
    push: float
    push_reach: float

    def reach(self, points_mm: torch.Tensor) -> Reach:
        """When a growing tumour comes to every point.

        Args:
            points_mm: `(3, i, j, k)` from the middle of the volume.
        """
        away = points_mm - torch.tensor(self.centre_mm, dtype=torch.float32).reshape(3, 1, 1, 1)
        round_mm = torch.einsum("ab,bijk->aijk", torch.from_numpy(self.to_sphere).float(), away)
        distance = round_mm.norm(dim=0)
        bumps = sample(self.bumps, round_mm / distance.clamp(min=1e-6) * _SPHERE)
        rough = 1 + _ROUGHNESS[self.kind] * bumps[:2]
        core = distance / rough[0].clamp(min=_LEAST_ROUGH)
        necrosis = core * rough[1].clamp(min=_LEAST_ROUGH) / self.inner if self.inner else None
        halo = self.halo * (1 + _HALO_ROUGHNESS * bumps[2]).clamp(min=0)
        return Reach(core.numpy(), None if necrosis is None else necrosis.numpy(), halo.numpy())


@dataclass(frozen=True, eq=False)
class Reach:
    """Radii at which a growing tumour comes to every voxel.

    Attributes:
        core_mm: `(i, j, k)`, of the core.
        necrosis_mm: `(i, j, k)`, of the necrosis; `None` if there is none.
        halo: `(i, j, k)`, how much earlier oedema comes to white matter than the core, minus 1.
    """

    core_mm: NDArray[np.float32]
    necrosis_mm: NDArray[np.float32] | None
    halo: NDArray[np.float32]

    def whole_mm(self, tissues: torch.Tensor) -> NDArray[np.float32]:
        """Radii at which anything of the tumour comes to every voxel.

        Args:
            tissues: `(4, i, j, k)` T1, WM, GM, CSF; oedema follows white matter.
        """
        _, wm, gm, _ = tissues.numpy()
        return self.core_mm / (1 + self.halo * (wm + _GREY_OEDEMA * gm))

    def labels(
        self, radius_mm: float, whole_mm: NDArray[np.float32], brain: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """The tumour of one size.

        Args:
            radius_mm: The size.
            whole_mm: From `whole_mm`.
            brain: `(i, j, k)` voxels inside the skull.

        Returns:
            `(i, j, k)`: necrosis 1, oedema 2, enhancing core 3.
        """
        labels = np.where((whole_mm <= radius_mm) & brain, np.uint8(ED), np.uint8(0))
        core = (self.core_mm <= radius_mm) & brain
        labels[core] = ET
        if self.necrosis_mm is not None:
            labels[core & (self.necrosis_mm <= radius_mm)] = NCR
        return labels


def draw_lesion(anatomy: Anatomy, radius_mm: float, share_glioma: float, rng: np.random.Generator) -> Lesion:
    """Draw a tumour.

    Args:
        anatomy: The head that it grows in.
        radius_mm: About its size: oedema of small tumours reaches relatively further.
        share_glioma: Chance of a glioma.
        rng: Decides everything.
    """
    kind = Kind.GLIOMA if rng.random() < share_glioma else Kind.MENINGIOMA
    index = _centre(anatomy.template, kind, rng)
    has_necrosis, has_oedema = rng.random() < _NECROSIS_CHANCE[kind], rng.random() < _OEDEMA_CHANCE
    inner, halo_mm = rng.uniform(*_INNER), rng.uniform(*_HALO_MM)
    return Lesion(
        kind=kind,
        centre_mm=anatomy.place_of(index),
        to_sphere=_ellipsoid(rng),
        bumps=smooth_lattice(3, (2.0, 2.0, 2.0), _BUMP_SIZE, rng),
        inner=inner if has_necrosis else 0.0,
        halo=min(halo_mm / radius_mm, _MOST_HALO) if has_oedema else 0.0,
        push=rng.uniform(*_PUSH),
        push_reach=rng.uniform(*_PUSH_REACH),
    )


def _centre(template: TemplateMaps, kind: Kind, rng: np.random.Generator) -> NDArray[np.float64]:
    """A place of the template: deep in white matter, or beneath the skull."""
    depth_mm = template.depth_mm
    if kind is Kind.GLIOMA:
        chance = template.tissues[1].numpy() * (depth_mm > _GLIOMA_DEPTH_MM)
    else:
        edge_mm = max(_MENINGIOMA_DEPTH_MM, template.voxel_mm)
        chance = ((depth_mm > 0) & (depth_mm <= edge_mm)).astype(np.float32)
    heights_mm = template.grid.affine[2, 3] + template.voxel_mm * np.arange(template.grid.shape[2])
    chance = (chance * (heights_mm > _LOWEST_MM[kind])).ravel()
    summed = np.cumsum(chance, dtype=np.float64)
    voxel = int(np.searchsorted(summed, rng.random() * summed[-1], side="right"))
    return np.array(np.unravel_index(voxel, depth_mm.shape)) + rng.uniform(-0.5, 0.5, 3)


def _ellipsoid(rng: np.random.Generator) -> NDArray[np.float64]:
    log_axes = rng.normal(0.0, _ANISOTROPY_LOG_SD, 3)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return np.diag(np.exp(log_axes.mean() - log_axes)) @ rotation
