"""A synthetic cohort as a folder: NIfTI files, study file, volumes over time, and the truth beside them."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.done_before import as_plain, refuse_other_results, why_not_done
from revoxel.core.folds import MIN_FOLDS, automatic_folds
from revoxel.core.geometry import Grid
from revoxel.core.provenance import read_sidecar, write_sidecar
from revoxel.core.pulses import Pulse
from revoxel.core.staging import all_or_nothing
from revoxel.core.strict_json import write_strict
from revoxel.core.volumes import RESEARCH_USE, atomic_path, write_volume
from revoxel.semivae.simulation.course import CourseSettings
from revoxel.semivae.simulation.dataset import SyntheticTumourDataset, longitudinal, patient_name
from revoxel.semivae.simulation.phantom import PhantomSettings
from revoxel.semivae.simulation.picture import save_picture
from revoxel.semivae.study import TumourScan, TumourStudy, read_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

STUDY, VISITS, TRUTH, PICTURE = "study.json", "visits.csv", "truth.csv", "phantoms.png"
RECORD = "patient.json"
_N_FOLDS = 5
_LICENCE = "synthetic, from the MNI152 2009a template"


@dataclass(frozen=True)
class CohortRecipe:
    """What a folder holds.

    Args:
        n_patients: How many.
        phantom: What they are drawn from.
        course: When they are seen; `None` for one visit each, with a tumour of any size.
        seed: Decides everything; patient `i` is the same in cohorts of any number.

    Raises:
        ValueError: If there is no patient, or the seed is negative.
    """

    n_patients: int
    phantom: PhantomSettings = field(default_factory=PhantomSettings)
    course: CourseSettings | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty cohort."""
        if self.n_patients < 1 or self.seed < 0:
            msg = f"patients must be at least 1 and seed at least 0, got {self.n_patients} and {self.seed}; "
            msg += "correct them."
            raise ValueError(msg)

    def patients(self) -> list[str]:
        """Names, in order."""
        return [patient_name(self.seed, index) for index in range(self.n_patients)]

    def items(self, index: int) -> list[dict[str, Any]]:
        """All visits of one patient.

        Args:
            index: Of the patient.
        """
        if self.course is None:
            return [SyntheticTumourDataset(index + 1, self.seed, self.phantom)[index]]
        return longitudinal(index, self.seed, self.phantom, self.course)

    def request(self, index: int) -> dict[str, Any]:
        """What decides the files of one patient, as `core.done_before` compares it.

        Args:
            index: Of the patient.
        """
        course = None if self.course is None else asdict(self.course)
        return as_plain(
            {
                "index": index,
                "seed": self.seed,
                "phantom": asdict(self.phantom),
                "course": course,
                "sha256": {},
            }
        )


@dataclass(frozen=True)
class WrittenCohort:
    """What was written.

    Attributes:
        study: The study file.
        visits: CSV for `revoxel semivae growth`.
        truth: CSV with what the tumours were drawn with.
        picture: The first scans.
        n_scans: Visits of all patients.
        n_kept: Patients that were there already.
    """

    study: Path
    visits: Path
    truth: Path
    picture: Path
    n_scans: int
    n_kept: int


def patients_to_make(folder: Path, recipe: CohortRecipe, *, overwrite: bool = False) -> list[int]:
    """Compare a folder with a recipe.

    Args:
        folder: Of the cohort, which may hold some patients of an earlier run.
        recipe: What is wanted.
        overwrite: Whether other patients of the same names may be replaced.

    Returns:
        Numbers of the patients that are not there yet as wanted.

    Raises:
        FileExistsError: If there are others, or a study with others, that may not be replaced.
    """
    if not overwrite:
        _refuse_other_study(folder / STUDY, recipe)
    missing = []
    for index, patient in enumerate(recipe.patients()):
        record = folder / patient / RECORD
        existing = sorted((folder / patient).glob("[!.]*"))
        why = why_not_done(record, existing, recipe.request(index))
        refuse_other_results(record, existing, why, overwrite=overwrite)
        if why:
            missing.append(index)
    return missing


def write_cohort(
    folder: Path,
    recipe: CohortRecipe,
    progress: Callable[[float], None] = lambda _: None,
    *,
    overwrite: bool = False,
) -> WrittenCohort:
    """Write a cohort; one that was interrupted goes on where it stopped.

    Args:
        folder: Made if missing. Every patient's files appear together or not at all; the study comes last.
        recipe: What is wanted.
        progress: Called with the share of the patients done.
        overwrite: Replace patients of another recipe.

    Returns:
        What was written.

    Raises:
        FileExistsError: If the folder holds patients of another recipe and `overwrite` is off.
        ValueError: If no tumour can be drawn at these voxels.
        OSError: If a file cannot be written; the patients before it are kept.
    """
    missing = set(patients_to_make(folder, recipe, overwrite=overwrite))
    for index, patient in enumerate(recipe.patients()):
        if index in missing:
            _write_patient(folder / patient, recipe, index)
        progress((index + 1) / recipe.n_patients)
    visits = [
        visit for patient in recipe.patients() for visit in read_sidecar(folder / patient / RECORD)["visits"]
    ]
    _write_table(folder / VISITS, [_growth_row(visit) for visit in visits])
    _write_table(folder / TRUTH, [{"scan_id": visit["scan_id"], **visit["truth"]} for visit in visits])
    study = _study(recipe, visits, folder)
    save_picture(study, folder / PICTURE)
    return WrittenCohort(
        study=write_strict(study, folder / STUDY),
        visits=folder / VISITS,
        truth=folder / TRUTH,
        picture=folder / PICTURE,
        n_scans=len(visits),
        n_kept=recipe.n_patients - len(missing),
    )


def _refuse_other_study(path: Path, recipe: CohortRecipe) -> None:
    """A larger cohort may take the place of a smaller one of the same seed; nothing else may."""
    if not path.exists():
        return
    try:
        others = {scan.patient_id for scan in read_study(path).scans} - set(recipe.patients())
    except ValueError:
        others = {"something else"}
    if others:
        msg = (
            f"{path} must be of the same cohort, got one with {min(others)}; pass --overwrite to replace it, "
        )
        msg += "or choose another folder."
        raise FileExistsError(msg)


def _write_patient(folder: Path, recipe: CohortRecipe, index: int) -> None:
    visits = []
    old = [path for path in folder.glob("[!.]*") if path.name != RECORD]
    with all_or_nothing(folder, RECORD, replaced=old) as hidden:
        for item in recipe.items(index):
            grid = Grid(tuple(item["label"].shape), item["affine"].numpy())
            for name, values, kind in _files(item):
                about = f"synthetic; {RESEARCH_USE}"
                write_volume(
                    hidden / f"{item['scan_id']}-{name}.nii.gz", values, grid, dtype=kind, description=about
                )
            visits.append(_visit(item, grid))
        sizes = {path.name: path.stat().st_size for path in sorted(hidden.iterdir())}
        record = {"request": recipe.request(index), "visits": visits, "n_bytes": sizes}
        write_sidecar(hidden / RECORD, record)


def _files(item: Mapping[str, Any]) -> list[tuple[str, Any, type[np.generic]]]:
    images = [(pulse.value, item["image"][at].numpy(), np.int16) for at, pulse in enumerate(Pulse)]
    return [*images, ("seg", item["label"].numpy(), np.uint8)]


def _visit(item: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
    volume_mm3 = int((item["label"] > 0).sum()) * float(np.prod(grid.spacing_mm))
    plain = {name: item[name] for name in ("scan_id", "patient_id", "time_years", "truth")}
    return {**plain, "volume_mm3": volume_mm3}


def _growth_row(visit: Mapping[str, Any]) -> dict[str, Any]:
    return {name: visit[name] for name in ("patient_id", "time_years", "volume_mm3", "scan_id")}


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with (
        atomic_path(path, overwrite=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _study(recipe: CohortRecipe, visits: Sequence[Mapping[str, Any]], folder: Path) -> TumourStudy:
    scans = [
        TumourScan(
            scan_id=visit["scan_id"],
            patient_id=visit["patient_id"],
            time_years=visit["time_years"],
            label=_place(visit, "seg"),
            images={pulse: _place(visit, pulse.value) for pulse in Pulse},
            licence=_LICENCE,
        )
        for visit in visits
    ]
    patients = recipe.patients()
    n_folds = min(_N_FOLDS, len(patients))
    folds = automatic_folds(patients, n_folds, seed=recipe.seed) if n_folds >= MIN_FOLDS else []
    return TumourStudy(scans=scans, folds=folds, folder=folder)


def _place(visit: Mapping[str, Any], name: str) -> Path:
    return Path(visit["patient_id"]) / f"{visit['scan_id']}-{name}.nii.gz"
