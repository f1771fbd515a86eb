"""One head with one tumour at one visit, or at several: a pure function of seed and number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from revoxel.semivae.simulation.anatomy import Anatomy, MassEffect, draw_anatomy
from revoxel.semivae.simulation.contrast import acquire
from revoxel.semivae.simulation.lesion import ET, NCR, Lesion, Reach, draw_lesion
from revoxel.semivae.simulation.template import template_maps

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ATTEMPTS: Final = 200
_SOLVING_STEPS = 2
_USUAL_WHITE = 0.6


@dataclass(frozen=True)
class PhantomSettings:
    """What heads and tumours are drawn from.

    Args:
        voxel_mm: Isotropic voxel size, 1 to 8.
        radius_mm: Smallest and largest radius of a core, drawn log-uniformly.
        share_glioma: Chance of a glioma-like tumour, deep inside; the others sit at the brain's surface.
        min_core_voxels: A core of fewer voxels is drawn again.

    Raises:
        ValueError: If a value is out of its range.
    """

    voxel_mm: float = 2.0
    radius_mm: tuple[float, float] = (6.0, 26.0)
    share_glioma: float = 0.5
    min_core_voxels: int = 8

    def __post_init__(self) -> None:
        """Refuse impossible tumours; the template refuses impossible voxels."""
        low_mm, high_mm = self.radius_mm
        if not 0 < low_mm <= high_mm < 60:
            msg = f"radius_mm must be two rising radii below 60 mm, got {self.radius_mm}; use (6, 26)."
            raise ValueError(msg)
        if not 0 <= self.share_glioma <= 1:
            msg = f"share_glioma must be from 0 to 1, got {self.share_glioma:g}; use 0.5."
            raise ValueError(msg)
        if self.min_core_voxels < 1:
            msg = f"min_core_voxels must be at least 1, got {self.min_core_voxels}; use 8."
            raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Patient:
    """A head and a tumour without its size.

    Attributes:
        anatomy: The head.
        brain: `(i, j, k)` inside the skull.
        lesion: The tumour.
        reach: Radii at which it comes to every voxel.
        settings: What they were drawn from.
    """

    anatomy: Anatomy
    brain: NDArray[np.bool_]
    lesion: Lesion
    reach: Reach
    settings: PhantomSettings

    def grown(self, radius_mm: float) -> Grown:
        """The head with a core of some radius.

        Args:
            radius_mm: Of the core; less of it is seen where the skull cuts it.
        """
        lesion = self.lesion
        mass = MassEffect(lesion.centre_mm, radius_mm, lesion.push, lesion.push_reach * radius_mm)
        tissues = self.anatomy.tissues(mass)
        whole_mm = self.reach.whole_mm(tissues)
        return Grown(radius_mm, tissues, whole_mm, self.reach.labels(radius_mm, whole_mm, self.brain))

    def grown_to(self, volume_mm3: float) -> Grown:
        """The head with a whole tumour of some volume, met to the voxel.

        Args:
            volume_mm3: Of all labels together.
        """
        n_voxels = max(round(volume_mm3 / self.settings.voxel_mm**3), 1)
        radius_mm = self._radius_mm(self.reach.core_mm / (1 + _USUAL_WHITE * self.reach.halo), n_voxels)
        # Oedema follows white matter that the mass pushes: its radius is found step by step.
        for _ in range(_SOLVING_STEPS if self.lesion.halo else 1):
            grown = self.grown(radius_mm)
            radius_mm = self._radius_mm(grown.whole_mm, n_voxels)
        labels = self.reach.labels(radius_mm, grown.whole_mm, self.brain)
        return replace(grown, radius_mm=radius_mm, labels=labels)

    def _radius_mm(self, whole_mm: NDArray[np.float32], n_voxels: int) -> float:
        """Radius at which the tumour has so many voxels."""
        return float(np.partition(whole_mm[self.brain], n_voxels - 1)[n_voxels - 1])

    def scan(self, grown: Grown, rng: np.random.Generator) -> dict[str, Any]:
        """Acquire four pulses.

        Args:
            grown: The head.
            rng: Decides gains, coil and noise.

        Returns:
            `image` `(4, i, j, k)` float32, `label` `(i, j, k)` uint8, `affine` `(4, 4)` float64.
        """
        image = acquire(
            grown.tissues, grown.labels, self.brain, self.lesion.kind, rng, self.settings.voxel_mm
        )
        return {
            "image": torch.from_numpy(image),
            "label": torch.from_numpy(grown.labels),
            "affine": torch.from_numpy(self.anatomy.template.grid.affine.copy()),
        }

    def enough(self, grown: Grown) -> bool:
        """Whether the core has the voxels that it must have.

        Args:
            grown: The head.
        """
        return np.isin(grown.labels, (NCR, ET)).sum() >= self.settings.min_core_voxels

    def truth(self) -> dict[str, float | str]:
        """What is known of the tumour apart from its label map; lengths in mm, the centre from the middle."""
        lesion = self.lesion
        centre = dict(zip(("centre_r_mm", "centre_a_mm", "centre_s_mm"), lesion.centre_mm, strict=True))
        return {"kind": lesion.kind.value, **centre, "push": lesion.push}


@dataclass(frozen=True, eq=False)
class Grown:
    """A head with a tumour of some size.

    Attributes:
        radius_mm: Of the core.
        tissues: `(4, i, j, k)` T1, WM, GM and CSF, pushed aside.
        whole_mm: `(i, j, k)` radii at which anything of the tumour comes to a voxel.
        labels: `(i, j, k)`.
    """

    radius_mm: float
    tissues: torch.Tensor
    whole_mm: NDArray[np.float32]
    labels: NDArray[np.uint8]


def stream(seed: int, index: int, purpose: Purpose, number: int = 0) -> np.random.Generator:
    """Random numbers that depend on nothing else.

    Args:
        seed: Of the data set.
        index: Of the patient.
        purpose: What they decide.
        number: Of the visit or attempt.
    """
    return np.random.default_rng((seed, index, purpose, number))


class Purpose(IntEnum):
    """What random numbers decide, so that a change of one thing leaves the others as they are."""

    ANATOMY = 0
    TUMOUR = 1
    COURSE = 2
    SCAN = 3


def head(seed: int, index: int, settings: PhantomSettings) -> Callable[[float, np.random.Generator], Patient]:
    """A head to place tumours in.

    Args:
        seed: Of the data set.
        index: Of the patient.
        settings: What is drawn from.

    Returns:
        Function of a radius in mm and random numbers that draws a tumour in this head.
    """
    template = template_maps(settings.voxel_mm)
    anatomy = draw_anatomy(template, stream(seed, index, Purpose.ANATOMY))
    brain, points_mm = anatomy.brain(), anatomy.points_mm()

    def with_tumour(radius_mm: float, rng: np.random.Generator) -> Patient:
        lesion = draw_lesion(anatomy, radius_mm, settings.share_glioma, rng)
        return Patient(anatomy, brain, lesion, lesion.reach(points_mm), settings)

    return with_tumour


def draw_patient(seed: int, index: int, settings: PhantomSettings) -> tuple[Patient, Grown]:
    """A head with a tumour of a random size.

    Args:
        seed: Of the data set.
        index: Of the patient.
        settings: What is drawn from.

    Raises:
        ValueError: If no core is large enough.
    """
    with_tumour = head(seed, index, settings)
    for attempt in range(ATTEMPTS):
        rng = stream(seed, index, Purpose.TUMOUR, attempt)
        radius_mm = float(np.exp(rng.uniform(*np.log(settings.radius_mm))))
        patient = with_tumour(radius_mm, rng)
        grown = patient.grown(radius_mm)
        if patient.enough(grown):
            return patient, grown
    raise ValueError(too_small(settings))


def too_small(settings: PhantomSettings) -> str:
    """What to say when no tumour is large enough.

    Args:
        settings: What was drawn from.
    """
    return (
        f"a core must have at least {settings.min_core_voxels} voxels, got fewer {ATTEMPTS} times at "
        f"{settings.voxel_mm:g} mm; take finer voxels or larger tumours."
    )
