"""The study file of CT: pairs of fine and coarse volumes, whose they are, and which patient is in which fold.

One JSON file, schema 1, written by `revoxel ct prepare`; paths are relative to its folder::

    {
      "schema": 1,
      "spacing_mm": 1.5, "factor": 4, "mode": "area", "seed": 0,
      "rows": [
        {"name": "chest", "patient_id": "p1", "fine": "fine/chest.nii.gz", "coarse": "coarse/chest.nii.gz",
         "spacing_mm": 1.5, "licence": "CC BY 3.0", "weights_may_ship": true,
         "source_sha256": "...", "sha256": {"fine": "...", "coarse": "..."}}
      ],
      "folds": [{"name": "without-p1", "train": ["p2", "p3"], "val": [], "test": ["p1"]}]
    }

`spacing_mm` is that of the fine volume; along axes where `source_spacing_mm`, that of the scan, is larger the
fine volume is interpolated and no truth. Optional in a row: `frontal` and `lateral`, the X-ray views.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from revoxel.core.folds import (
    Fold,
    automatic_folds,
    fold_named,
    refuse_repeats,
    refuse_shared,
    refuse_strangers,
)
from revoxel.core.provenance import sha256_of
from revoxel.core.strict_json import FileName, Positive, Sha256, Strict, read_strict, write_strict
from revoxel.ct.scans.coarse import CoarseMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STUDY_FILE = "study.json"
NOT_STATED = "not stated"
#: Up to so many patients each is left out once; beyond, there are five folds.
MOST_LEFT_OUT = 10
_N_FOLDS = 5
_COARSER = 0.05
FileField = Literal["fine", "coarse", "frontal", "lateral"]
_FIELDS: tuple[FileField, ...] = ("fine", "coarse", "frontal", "lateral")


class CtRow(Strict):
    """One fine volume, the coarse one made of it, and on which terms they may be used."""

    name: FileName
    patient_id: Annotated[str, Field(min_length=1)]
    fine: Path
    coarse: Path
    spacing_mm: Positive
    frontal: Path | None = None
    lateral: Path | None = None
    licence: str = NOT_STATED
    weights_may_ship: bool = False
    source_sha256: Sha256 | None = None
    source_origin_mm: tuple[float, float, float] | None = None
    source_spacing_mm: tuple[Positive, Positive, Positive] | None = None
    sha256: dict[FileField, Sha256] = Field(default_factory=dict)

    @property
    def is_interpolated(self) -> bool:
        """Whether the scan was coarser than the fine volume along some axis."""
        return any(mm > (1 + _COARSER) * self.spacing_mm for mm in self.source_spacing_mm or ())

    def files(self) -> dict[FileField, Path]:
        """Files by field, as written."""
        return {field: path for field in _FIELDS if (path := getattr(self, field)) is not None}


class CtStudy(Strict):
    """A validated study; `folder` is where it was read from."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    spacing_mm: Positive
    factor: Literal[2, 4] = 4
    mode: CoarseMode = CoarseMode.AREA
    seed: int = 0
    rows: Annotated[list[CtRow], Field(min_length=1)]
    folds: list[Fold] = Field(default_factory=list)
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        refuse_repeats([row.name for row in self.rows], "names of rows")
        refuse_repeats([fold.name for fold in self.folds], "names of folds")
        return self

    @model_validator(mode="after")
    def _patients_apart(self) -> Self:
        refuse_shared(
            (f"row {row.name}", str(thing), row.patient_id)
            for row in self.rows
            for thing in (*row.files().values(), row.source_sha256)
            if thing is not None
        )
        return self

    @model_validator(mode="after")
    def _patients_exist(self) -> Self:
        refuse_strangers(self.folds, self.patients, "rows")
        return self

    @property
    def patients(self) -> list[str]:
        """Every patient once, in the order of the rows."""
        return list(dict.fromkeys(row.patient_id for row in self.rows))

    def resolve(self, path: Path) -> Path:
        """Absolute place of a path written in this study."""
        return (self.folder / path).resolve()

    def rows_of(self, patients: Iterable[str]) -> list[CtRow]:
        """Rows of these patients, in the study's order."""
        wanted = set(patients)
        return [row for row in self.rows if row.patient_id in wanted]

    def fold(self, name: str) -> Fold:
        """The fold of that name.

        Raises:
            ValueError: If there is none.
        """
        return fold_named(self.folds, name)

    def changed_files(self) -> list[str]:
        """What is missing or no longer the file that was listed, one line per file; empty if all is well."""
        lines = []
        for row in self.rows:
            for field, path in row.files().items():
                there, expected = self.resolve(path), row.sha256.get(field)
                if not there.is_file():
                    lines.append(f"{row.name}.{field}: no such file {there}")
                elif expected and sha256_of(there) != expected:
                    lines.append(f"{row.name}.{field}: no longer the file that was listed: {there}")
        return lines


def patient_folds(patients: Sequence[str], *, seed: int = 0) -> list[Fold]:
    """Folds by patient: each left out once while they are few, else five drawn at random.

    Args:
        patients: Distinct patients.
        seed: Of the draw.

    Returns:
        `without-PATIENT`, which trains on all others and tests on that one, for 2 to 10 patients;
        `fold0` to `fold4` for more; none for a single patient.
    """
    distinct = sorted(set(patients))
    if len(distinct) > MOST_LEFT_OUT:
        return automatic_folds(distinct, _N_FOLDS, seed=seed)
    if len(distinct) < 2:
        return []
    return [
        Fold(name=f"without-{left}", train=[p for p in distinct if p != left], val=[], test=[left])
        for left in distinct
    ]


def load_study(path: Path | str) -> CtStudy:
    """Read and check a study.

    Args:
        path: `study.json`, or the folder that it lies in.

    Returns:
        The study, its `folder` set so that paths resolve.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a field is wrong; the message names it.
    """
    path = Path(path)
    path = path / STUDY_FILE if path.is_dir() else path
    if not path.is_file():
        msg = f"{path} must be a CT study, got no such file; make one with revoxel ct prepare."
        raise FileNotFoundError(msg)
    study = read_strict(CtStudy, path, "correct it or run revoxel ct prepare again")
    return study.model_copy(update={"folder": path.parent.resolve()})


def save_study(study: CtStudy, path: Path | str) -> Path:
    """Write a study as JSON, whole or not at all.

    Args:
        study: What to write.
        path: Target; replaced.

    Returns:
        The target.

    Raises:
        OSError: If it cannot be written; what was there is left as it is.
    """
    return write_strict(study, path)
