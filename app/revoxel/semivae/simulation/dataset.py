"""Synthetic tumours as a torch data set, and all visits of one synthetic patient."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from revoxel.semivae.simulation.course import CourseSettings, draw_course
from revoxel.semivae.simulation.phantom import (
    ATTEMPTS,
    PhantomSettings,
    Purpose,
    draw_patient,
    head,
    stream,
    too_small,
)


class SyntheticTumourDataset(Dataset[dict[str, Any]]):
    """Heads with one tumour each; item `i` depends on nothing but `seed`, `i` and the settings.

    An item has `image` `(4, i, j, k)` float32 (T1c, T1n, FLAIR, T2; whole numbers, 0 outside the brain only),
    `label` `(i, j, k)` uint8 (necrosis 1, oedema 2, enhancing core 3), `affine` `(4, 4)` float64 to RAS
    millimetres, `patient_id`, `scan_id`, `time_years` and `truth` (what the tumour was drawn with).

    Args:
        n: How many.
        seed: Another seed gives other patients.
        settings: What they are drawn from.

    Raises:
        ValueError: If there are none, or the seed is negative.
    """

    def __init__(self, n: int, seed: int = 0, settings: PhantomSettings | None = None) -> None:
        if n < 1 or seed < 0:
            msg = f"n must be at least 1 and seed at least 0, got {n} and {seed}; correct them."
            raise ValueError(msg)
        self.n, self.seed, self.settings = n, seed, settings or PhantomSettings()

    def __len__(self) -> int:
        """How many there are."""
        return self.n

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One patient.

        Args:
            index: From 0 on.

        Raises:
            IndexError: If there is no such patient, which also ends a plain loop.
            ValueError: If voxels are too coarse for the tumours.
        """
        if not 0 <= index < self.n:
            msg = f"index must be from 0 to {self.n - 1}, got {index}; enlarge n."
            raise IndexError(msg)
        patient, grown = draw_patient(self.seed, index, self.settings)
        scan = patient.scan(grown, stream(self.seed, index, Purpose.SCAN))
        return _item(scan, self.seed, index, truth={**patient.truth(), "radius_mm": grown.radius_mm})


def patient_name(seed: int, index: int) -> str:
    """What a patient is called; the seed is part of it, so that two data sets never share one by accident.

    Args:
        seed: Of the data set.
        index: Of the patient.
    """
    return f"phantom-{seed}-{index:05d}"


def longitudinal(
    index: int,
    seed: int = 0,
    settings: PhantomSettings | None = None,
    course: CourseSettings | None = None,
) -> list[dict[str, Any]]:
    """All visits of one patient: one anatomy, one shape of the tumour, its volume along a Gompertz curve.

    Patients whose smallest tumour has too few core voxels are drawn again: coarse voxels give a cohort of
    larger tumours.

    Args:
        index: Of the patient.
        seed: Another seed gives other patients.
        settings: What they are drawn from; `radius_mm` plays no part.
        course: When they are seen.

    Returns:
        Items as of `SyntheticTumourDataset`; `truth` has `alpha_per_year`, `log_capacity`, `log_v0` and
        `log_volume` (without noise) as well.

    Raises:
        ValueError: If voxels are too coarse for the tumours.
    """
    settings, course = settings or PhantomSettings(), course or CourseSettings()
    with_tumour = head(seed, index, settings)
    for attempt in range(ATTEMPTS):
        drawn = draw_course(seed, index, course, attempt)
        volumes_mm3 = np.exp(drawn.log_volumes)
        middle_mm = (3 * float(np.median(volumes_mm3)) / (4 * np.pi)) ** (1 / 3)
        patient = with_tumour(middle_mm, stream(seed, index, Purpose.TUMOUR, attempt))
        if patient.enough(patient.grown_to(volumes_mm3.min())):
            break
    else:
        raise ValueError(too_small(settings))
    visits = []
    for number, time_years in enumerate(drawn.times_years):
        grown = patient.grown_to(volumes_mm3[number])
        scan = patient.scan(grown, stream(seed, index, Purpose.SCAN, number))
        truth = {
            **patient.truth(),
            "radius_mm": grown.radius_mm,
            "alpha_per_year": drawn.alpha_per_year,
            "log_capacity": drawn.log_capacity,
            "log_v0": drawn.log_v0,
            "log_volume": drawn.log_volume(time_years),
        }
        visits.append(_item(scan, seed, index, truth, number, time_years))
    return visits


def _item(
    scan: dict[str, Any],
    seed: int,
    index: int,
    truth: dict[str, Any],
    number: int = 0,
    time_years: float = 0.0,
) -> dict[str, Any]:
    patient_id = patient_name(seed, index)
    names = {"patient_id": patient_id, "scan_id": f"{patient_id}-{number}", "time_years": time_years}
    return {**scan, **names, "truth": truth}
