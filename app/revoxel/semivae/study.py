"""The study file of SemiVAE: whose scans, when they were made, where label maps lie, who is in which fold.

One JSON file, schema 1; paths are relative to its folder (absolute ones are taken as they are)::

    {
      "schema": 1,
      "scans": [
        {"scan_id": "p1-2019", "patient_id": "p1", "time_years": 0.0, "label": "p1/2019-seg.nii.gz",
         "images": {"t1c": "p1/2019-t1c.nii.gz"}, "licence": "CC BY 4.0"}
      ],
      "folds": [{"name": "fold0", "train": ["p1"], "val": ["p2"], "test": ["p3"]}]
    }

Optional: `time_years` (0), `images`, `licence`, `folds`. Folds list patients, so that all visits of a patient
are on one side of every split.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from revoxel.core.folds import Fold, fold_named, refuse_repeats, refuse_shared, refuse_strangers
from revoxel.core.pulses import Pulse
from revoxel.core.strict_json import FileName, Strict, read_strict

if TYPE_CHECKING:
    from collections.abc import Iterable


class TumourScan(Strict):
    """One visit of one patient."""

    scan_id: FileName
    patient_id: Annotated[str, Field(min_length=1)]
    time_years: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    label: Path
    images: dict[Pulse, Path] = Field(default_factory=dict)
    licence: str = "not stated"


class TumourStudy(Strict):
    """A validated study; `folder` is where it was read from."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    scans: Annotated[list[TumourScan], Field(min_length=1)]
    folds: list[Fold] = Field(default_factory=list)
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        refuse_repeats([scan.scan_id for scan in self.scans], "names of scans")
        refuse_repeats([fold.name for fold in self.folds], "names of folds")
        return self

    @model_validator(mode="after")
    def _patients_apart(self) -> Self:
        refuse_shared(
            (f"scan {scan.scan_id}", str(path), scan.patient_id)
            for scan in self.scans
            for path in (scan.label, *scan.images.values())
        )
        return self

    @model_validator(mode="after")
    def _patients_exist(self) -> Self:
        refuse_strangers(self.folds, {scan.patient_id for scan in self.scans}, "scans")
        return self

    def resolve(self, path: Path) -> Path:
        """Absolute place of a path written in this study."""
        return (self.folder / path).resolve()

    def fold(self, name: str) -> Fold:
        """The fold of that name.

        Raises:
            ValueError: If there is none.
        """
        return fold_named(self.folds, name)

    def scans_of(self, patients: Iterable[str]) -> list[TumourScan]:
        """All visits of these patients, in the study's order."""
        wanted = set(patients)
        return [scan for scan in self.scans if scan.patient_id in wanted]


def read_study(path: Path | str) -> TumourStudy:
    """Read and check a study file.

    Args:
        path: JSON file.

    Returns:
        The study; its paths are relative to the file's folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no study; the message is one line that names file and row.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path} must be an existing study file, got nothing there; check the path."
        raise FileNotFoundError(msg)
    study = read_strict(TumourStudy, path, "correct the study (schema 1)")
    return study.model_copy(update={"folder": path.parent})
