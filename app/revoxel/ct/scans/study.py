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

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from revoxel.core.manifest import FileName, Fold, Positive, Sha256, automatic_folds
from revoxel.core.provenance import sha256_of
from revoxel.core.volumes import atomic_path
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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class CtRow(_Strict):
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


class CtStudy(_Strict):
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
        for kind, names in (("row", [r.name for r in self.rows]), ("fold", [f.name for f in self.folds])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                msg = f"names of {kind}s must be distinct, got {twice} more than once; rename one"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _patients_apart(self) -> Self:
        owners: dict[str, str] = {}
        for row in self.rows:
            things = [str(path) for path in row.files().values()]
            for thing in [*things, *([row.source_sha256] if row.source_sha256 else [])]:
                patient = owners.setdefault(thing, row.patient_id)
                if patient != row.patient_id:
                    msg = f"row {row.name} must belong to one patient, got {thing} for {patient!r} and "
                    msg += f"{row.patient_id!r}; folds would mix them: correct patient_id"
                    raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _folds_name_patients(self) -> Self:
        known = set(self.patients)
        for fold in self.folds:
            missing = sorted({*fold.train, *fold.val, *fold.test} - known)
            if missing:
                msg = f"fold {fold.name} must name patients of rows, got {missing}; known are {sorted(known)}"
                raise ValueError(msg)
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
        for fold in self.folds:
            if fold.name == name:
                return fold
        names = [fold.name for fold in self.folds]
        msg = f"fold must be one of {names}, got {name!r}; choose one, or prepare more patients."
        raise ValueError(msg)

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
    try:
        study = CtStudy.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "study"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        said = first["msg"].removeprefix("Value error, ")
        msg = f"{path}: {where}: {said}{more}; correct it or run revoxel ct prepare again."
        raise ValueError(msg) from error
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
    text = study.model_dump_json(indent=2, by_alias=True, exclude_none=True)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)
