"""The manifest: who is in a study, where the files lie, and which patient is in which fold.

A manifest is one JSON file, schema 1. Every path is relative to `root`, and `root` is relative to the folder
of the manifest (absolute paths are taken as they are)::

    {
      "schema": 1,
      "root": ".",
      "seed": 0,
      "experts": ["BSPLINE", "ECLARE", "SMORE", "UNIRES"],
      "cases": [
        {
          "subject": "BraTS-GLI-00001-000",
          "patient": "00001",
          "timepoint": "000",
          "pulse": "t1c",
          "spacing": "5mm",
          "separation_mm": 5.0,
          "axis": 2,
          "profile": {"label": "gauss:5", "std_mm": 2.12, "assumed_std_mm": 2.12, "confidence": 1.0},
          "hr": "hr/BraTS-GLI-00001-000-t1c.nii.gz",
          "lr": "5mm/BraTS-GLI-00001-000-t1c_z.nii.gz",
          "experts": {"BSPLINE": "5mm/BraTS-GLI-00001-000-t1c_z_SR-BSPLINE.nii.gz", "ECLARE": "...",
                      "SMORE": "...", "UNIRES": "..."},
          "sha256": {"lr": "..."}
        }
      ],
      "folds": [{"name": "fold0", "train": ["00002"], "val": ["00003"], "test": ["00001"]}]
    }

`axis` is the slice axis (0, 1 or 2) of the arrays as stored. `profile.std_mm` is the estimated standard
deviation of the slice profile, `assumed_std_mm` the one the experts were run with (left out: the estimated
one) and `confidence` how much the estimate is trusted (1 = known). Optional: `timepoint` ("000"),
`separation_mm` (the nominal spacing), `condition` (a free label of how the slices were made and what the
experts were told; tables are grouped by it), `hr` (inference), `experts` of a case (before they are made),
`sha256`, `seed`, `folds`. A subject may stand in several rows (pulses, spacings, axes, profiles). All experts
of a case lie on one grid; `hr` starts at the same first voxel and may have fewer or more slices (it is cut or
padded).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from revoxel.core.folds import (
    Fold,
    automatic_folds,
    fold_named,
    refuse_repeats,
    refuse_shared,
    refuse_strangers,
)
from revoxel.core.provenance import sha256_of
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.strict_json import FileName, Positive, Sha256, Strict, write_strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class ProfileRecord(Strict):
    """Slice profile of one low-resolution volume, as a gate is told about it."""

    label: str = "auto"
    std_mm: Positive
    assumed_std_mm: Positive | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] = 1.0

    def planes(self, separation_mm: float) -> tuple[float, float, float]:
        """Values of the three profile planes.

        Args:
            separation_mm: distance between slice centres in millimetres.

        Returns:
            Estimated width over separation, assumed width over separation, confidence.
        """
        assumed_std_mm = self.std_mm if self.assumed_std_mm is None else self.assumed_std_mm
        return self.std_mm / separation_mm, assumed_std_mm / separation_mm, self.confidence


class Case(Strict):
    """One low-resolution volume with its experts and, where known, its truth."""

    subject: FileName
    patient: Annotated[str, Field(min_length=1)]
    timepoint: str = "000"
    pulse: Pulse
    spacing: Spacing
    separation_mm: Positive
    axis: Annotated[int, Field(ge=0, le=2)]
    profile: ProfileRecord
    condition: str = ""
    hr: Path | None = None
    lr: Path
    experts: dict[str, Path] = Field(default_factory=dict)
    sha256: dict[str, Sha256] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _nominal_separation(cls, row: object) -> object:
        if isinstance(row, dict) and row.get("separation_mm") is None and row.get("spacing") in set(Spacing):
            return {**row, "separation_mm": Spacing(row["spacing"]).nominal_mm}
        return row

    @model_validator(mode="after")
    def _checksums_of_files(self) -> Self:
        unknown = sorted(set(self.sha256) - set(self.files()))
        if unknown:
            msg = f"sha256 must be of {sorted(self.files())}, got {unknown}; remove it or name the file"
            raise ValueError(msg)
        return self

    @property
    def key(self) -> tuple[str, str, str]:
        """Subject, pulse and spacing: what no two rows share, because files are named after it."""
        return self.subject, self.pulse.value, self.spacing.value

    def files(self) -> dict[str, Path]:
        """Files by field: `lr`, `hr` if there is one, `experts.NAME`; `sha256` has the same names."""
        truth = {} if self.hr is None else {"hr": self.hr}
        return {"lr": self.lr, **truth, **{f"experts.{name}": path for name, path in self.experts.items()}}

    def planes(self) -> tuple[float, float, float]:
        """Profile planes of this case: see `ProfileRecord.planes`."""
        return self.profile.planes(self.separation_mm)


class Manifest(Strict):
    """A validated manifest; `folder` is where it was read from."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    root: Path = Path()
    seed: int = 0
    experts: Annotated[list[str], Field(min_length=1)]
    cases: Annotated[list[Case], Field(min_length=1)]
    folds: list[Fold] = Field(default_factory=list)
    folder: Path = Field(default=Path(), exclude=True)

    @field_validator("experts", "folds")
    @classmethod
    def _names_once(cls, entries: list[Any]) -> list[Any]:
        refuse_repeats([entry if isinstance(entry, str) else entry.name for entry in entries])
        return entries

    @model_validator(mode="after")
    def _rows_once(self) -> Self:
        rows: dict[tuple[str, str, str], int] = {}
        for row, case in enumerate(self.cases):
            first = rows.setdefault(case.key, row)
            if first != row:
                msg = f"cases.{row}.subject must differ from cases.{first} at this pulse and spacing, got "
                msg += f"{case.subject!r} twice; files are named after it: extend one name"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _patients_apart(self) -> Self:
        refuse_shared(
            (f"cases.{row}.{field}", str(thing), case.patient)
            for row, case in enumerate(self.cases)
            for field, thing in {"subject": case.subject, **case.files()}.items()
        )
        return self

    @model_validator(mode="after")
    def _patients_exist(self) -> Self:
        refuse_strangers(self.folds, {case.patient for case in self.cases}, "cases")
        return self

    @model_validator(mode="after")
    def _experts_known(self) -> Self:
        for row, case in enumerate(self.cases):
            unknown = sorted(set(case.experts) - set(self.experts))
            if unknown:
                msg = f"cases.{row}.experts must be among {self.experts}, got {unknown}; list them there"
                raise ValueError(msg)
        return self

    def resolve(self, path: Path) -> Path:
        """Absolute place of a path written in this manifest."""
        return (self.folder / self.root / path).resolve()

    def fold(self, name: str) -> Fold:
        """The fold of that name.

        Raises:
            ValueError: If there is none.
        """
        return fold_named(self.folds, name)

    def select(self, patients: Iterable[str], spacing: str, pulses: Sequence[str]) -> list[Case]:
        """Cases of these patients at one spacing and any of the pulses, in manifest order."""
        wanted = set(patients)
        return [
            case
            for case in self.cases
            if case.patient in wanted and case.spacing == spacing and case.pulse in pulses
        ]

    def missing_files(self, cases: Iterable[Case], *, need_truth: bool = True) -> list[str]:
        """What is absent for training or inference, one line per file.

        Args:
            cases: rows to look at.
            need_truth: whether each case must have `hr`.

        Returns:
            Lines such as `cases.3.hr: no such file /data/x.nii.gz`, empty when all is there.
        """
        rows = {case.key: row for row, case in enumerate(self.cases)}
        return [line for case in cases for line in self._missing(case, rows[case.key], need_truth=need_truth)]

    def _missing(self, case: Case, row: int, *, need_truth: bool) -> list[str]:
        paths = case.files()
        needed = ["lr", *(f"experts.{name}" for name in self.experts), *(["hr"] if need_truth else [])]
        lines = []
        for field in needed:
            if field not in paths:
                lines.append(f"cases.{row}.{field}: missing")
            elif not self.resolve(paths[field]).is_file():
                lines.append(f"cases.{row}.{field}: no such file {self.resolve(paths[field])}")
        return lines

    def changed_files(self, progress: Callable[[float], None] | None = None) -> list[str]:
        """Compare every file that has a checksum with it.

        Args:
            progress: called with the share of the rows done.

        Returns:
            Lines such as `cases.3.lr: no longer the file that was listed: /data/x.nii.gz`, or none.
        """
        lines = []
        for row, case in enumerate(self.cases):
            for field, expected in case.sha256.items():
                path = self.resolve(case.files()[field])
                if not path.is_file():
                    lines.append(f"cases.{row}.{field}: no such file {path}")
                elif sha256_of(path) != expected:
                    lines.append(f"cases.{row}.{field}: no longer the file that was listed: {path}")
            if progress:
                progress((row + 1) / len(self.cases))
        return lines

    def with_folds(self, n_folds: int) -> Manifest:
        """A copy whose folds are drawn patient-wise from its seed."""
        patients = sorted({case.patient for case in self.cases})
        return self.model_copy(update={"folds": automatic_folds(patients, n_folds, seed=self.seed)})


def load_manifest(path: Path | str) -> Manifest:
    """Read and check a manifest.

    Args:
        path: JSON file of schema 1.

    Returns:
        The manifest, its `folder` set so that relative paths resolve.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a field is wrong; the message names row and field.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"manifest must be an existing JSON file, got {str(path)!r}; give its path (--manifest)."
        raise FileNotFoundError(msg)
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(_one_line(path, error)) from error
    return manifest.model_copy(update={"folder": path.parent.resolve()})


def save_manifest(manifest: Manifest, path: Path) -> Path:
    """Write a manifest as JSON.

    Args:
        manifest: what to write.
        path: target; replaced atomically.

    Returns:
        The target.

    Raises:
        OSError: If it cannot be written; what was there is left as it is.
    """
    return write_strict(manifest, path)


def _one_line(path: Path, error: ValidationError) -> str:
    problems = []
    for item in error.errors()[:3]:
        where = ".".join(str(part) for part in item["loc"]) or "manifest"
        whole = not item["loc"] or isinstance(item["input"], dict | list | Manifest)
        got = "" if whole else f", got {item['input']!r}"
        problems.append(f"{where}{_subject_of(path, item['loc'])}: {_words(item)}{got}")
    more = f" (and {error.error_count() - 3} more)" if error.error_count() > 3 else ""
    return f"{path}: " + "; ".join(problems) + more + "; correct the manifest (schema 1)."


def _words(item: Any) -> str:
    return item["msg"].removeprefix("Value error, ")


def _subject_of(path: Path, place: tuple[int | str, ...]) -> str:
    """Which subject a wrong row is about: people look for names, not for numbers of rows."""
    if len(place) < 2 or place[0] != "cases":
        return ""
    subject = json.loads(path.read_bytes())["cases"][place[1]]
    name = subject.get("subject") if isinstance(subject, dict) else None
    return f" ({name})" if isinstance(name, str) else ""
