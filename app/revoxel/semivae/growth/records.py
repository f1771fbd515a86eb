"""Visits of patients: when, how large, read from a CSV and checked."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from revoxel.semivae.growth.latents import read_latent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

COLUMNS = ("patient_id", "time_years", "volume_mm3")


@dataclass(frozen=True, eq=False)
class GrowthRecord:
    """One patient's tumour over time.

    Args:
        patient_id: Whose.
        times_years: `(visit,)` on any clock, strictly increasing.
        log_volumes: `(visit,)` natural logarithm of mm^3.
        latent: Of the first visit, by part; None if unknown.

    Raises:
        ValueError: If there is no visit, times do not increase, or a number is not finite; names the patient.
    """

    patient_id: str
    times_years: NDArray[np.float64]
    log_volumes: NDArray[np.float64]
    latent: Mapping[str, NDArray[np.float64]] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a course of visits."""
        times, values = (np.array(one, dtype=np.float64) for one in (self.times_years, self.log_volumes))
        who = f"patient {self.patient_id!r}"
        if times.ndim != 1 or times.shape != values.shape or not times.size:
            msg = f"{who} must have one volume per time and at least one visit, got {times.shape} times and "
            msg += f"{values.shape} volumes; correct the rows."
            raise ValueError(msg)
        if not (np.isfinite(times).all() and np.isfinite(values).all()):
            msg = f"{who} must have finite times and volumes, got NaN or infinity; correct the rows."
            raise ValueError(msg)
        if (np.diff(times) <= 0).any():
            msg = (
                f"{who} must have strictly increasing times, got {times.tolist()}; sort or merge the visits."
            )
            raise ValueError(msg)
        object.__setattr__(self, "times_years", times)
        object.__setattr__(self, "log_volumes", values)

    @property
    def n_visits(self) -> int:
        """How many visits there are."""
        return len(self.times_years)

    @property
    def since_first_years(self) -> NDArray[np.float64]:
        """Times since the first visit, the clock of every model."""
        return self.times_years - self.times_years[0]

    def first(self, n_visits: int) -> GrowthRecord:
        """The earliest visits.

        Args:
            n_visits: How many to keep.
        """
        return replace(self, times_years=self.times_years[:n_visits], log_volumes=self.log_volumes[:n_visits])


def read_growth_csv(path: Path) -> list[GrowthRecord]:
    """Read visits, one row each, in any order.

    Args:
        path: CSV with the columns `patient_id`, `time_years` and `volume_mm3`; perhaps `latent`, the visit's
            `*_latent.json`, relative to the CSV, of which a patient's first is read; others are ignored.

    Returns:
        One record per patient, in the order of their first rows.

    Raises:
        FileNotFoundError: If there is no such file, or no latent where one is named.
        ValueError: If a column is missing, a number or latent is none, a volume is not positive, or a patient
            has two visits at one time; it names line and patient.
    """
    visits: dict[str, list[_Visit]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            msg = f"{path} must have the columns {', '.join(COLUMNS)}, got none of {missing}; add them."
            raise ValueError(msg)
        for row in rows:
            visits.setdefault(row["patient_id"], []).append(_visit(path, rows.line_num, row))
    if not visits:
        msg = f"{path} must hold visits, got only a head; add a row per visit."
        raise ValueError(msg)
    return [
        _record(patient_id, sorted(entries, key=lambda visit: visit[0]))
        for patient_id, entries in visits.items()
    ]


_Visit = tuple[float, float, Path | None]


def _visit(path: Path, line: int, row: Mapping[str, str]) -> _Visit:
    patient = row["patient_id"]
    try:
        time_years, volume_mm3 = float(row["time_years"]), float(row["volume_mm3"])
    except (TypeError, ValueError) as error:
        msg = f"{path}, line {line} (patient {patient!r}): time_years and volume_mm3 must be numbers, got "
        msg += f"{row['time_years']!r} and {row['volume_mm3']!r}; correct the row."
        raise ValueError(msg) from error
    if not (patient and np.isfinite(time_years) and 0 < volume_mm3 < np.inf):
        msg = f"{path}, line {line} (patient {patient!r}): a visit must have a patient, a finite time and a "
        msg += (
            f"positive volume, got {time_years:g} years and {volume_mm3:g} mm^3; correct or remove the row."
        )
        raise ValueError(msg)
    latent = (row.get("latent") or "").strip()
    return time_years, volume_mm3, path.parent / latent if latent else None


def _record(patient_id: str, visits: Sequence[_Visit]) -> GrowthRecord:
    times, volumes = np.array([visit[:2] for visit in visits]).T
    first = visits[0][2]
    latent = None if first is None else read_latent(first)
    return GrowthRecord(patient_id, times, np.log(volumes), latent)


@dataclass(frozen=True, eq=False)
class PaddedVisits:
    """Visits of many patients as one block, for arithmetic on all at once.

    Attributes:
        times_years: `(patient, visit)` since the first visit, 0 where there is none.
        log_volumes: `(patient, visit)`, 0 where there is none.
        exists: `(patient, visit)` 1.0 or 0.0.
    """

    times_years: NDArray[np.float64]
    log_volumes: NDArray[np.float64]
    exists: NDArray[np.float64]

    @classmethod
    def of(cls, records: Sequence[GrowthRecord]) -> PaddedVisits:
        """Stack records.

        Args:
            records: At least one.
        """
        shape = (len(records), max(record.n_visits for record in records))
        times, values, exists = (np.zeros(shape) for _ in range(3))
        for row, record in enumerate(records):
            times[row, : record.n_visits] = record.since_first_years
            values[row, : record.n_visits] = record.log_volumes
            exists[row, : record.n_visits] = 1.0
        return cls(times, values, exists)
