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

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from revoxel.core.pulses import Pulse, Spacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Split = Literal["train", "val", "test"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MIN_FOLDS = 3


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ProfileRecord(_Strict):
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


class Case(_Strict):
    """One low-resolution volume with its experts and, where known, its truth."""

    subject: Annotated[str, Field(min_length=1)]
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
    sha256: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _nominal_separation(cls, row: object) -> object:
        if isinstance(row, dict) and row.get("separation_mm") is None and row.get("spacing") in set(Spacing):
            return {**row, "separation_mm": Spacing(row["spacing"]).nominal_mm}
        return row

    def planes(self) -> tuple[float, float, float]:
        """Profile planes of this case: see `ProfileRecord.planes`."""
        return self.profile.planes(self.separation_mm)


class Fold(_Strict):
    """A patient-wise split; every list holds patients, not subjects."""

    name: Annotated[str, Field(min_length=1)]
    train: list[str]
    val: list[str]
    test: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            shared = sorted(set(getattr(self, first)) & set(getattr(self, second)))
            if shared:
                msg = f"{first} and {second} must be disjoint, got {shared}; keep a patient in one list"
                raise ValueError(msg)
        return self


class Manifest(_Strict):
    """A validated manifest; `folder` is where it was read from."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    root: Path = Path()
    seed: int = 0
    experts: list[str]
    cases: Annotated[list[Case], Field(min_length=1)]
    folds: list[Fold] = Field(default_factory=list)
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _patients_exist(self) -> Self:
        known = {case.patient for case in self.cases}
        for fold in self.folds:
            missing = sorted({*fold.train, *fold.val, *fold.test} - known)
            if missing:
                msg = f"{fold.name} must name patients of cases, got {missing}; known are {sorted(known)}"
                raise ValueError(msg)
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
        for fold in self.folds:
            if fold.name == name:
                return fold
        names = [fold.name for fold in self.folds]
        msg = f"fold must be one of {names}, got {name!r}; choose one or write folds into the manifest."
        raise ValueError(msg)

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
        return [line for case in cases for line in self._missing(case, need_truth=need_truth)]

    def _missing(self, case: Case, *, need_truth: bool) -> list[str]:
        row = self.cases.index(case)
        paths: dict[str, Path | None] = {"lr": case.lr}
        paths |= {f"experts.{name}": case.experts.get(name) for name in self.experts}
        if need_truth:
            paths["hr"] = case.hr
        lines = []
        for field, path in paths.items():
            if path is None:
                lines.append(f"cases.{row}.{field}: missing")
            elif not self.resolve(path).is_file():
                lines.append(f"cases.{row}.{field}: no such file {self.resolve(path)}")
        return lines

    def with_folds(self, n_folds: int) -> Manifest:
        """A copy whose folds are drawn patient-wise from its seed."""
        patients = sorted({case.patient for case in self.cases})
        return self.model_copy(update={"folds": automatic_folds(patients, n_folds, seed=self.seed)})


def automatic_folds(patients: Sequence[str], n_folds: int, *, seed: int = 0) -> list[Fold]:
    """Draw patient-wise folds: fold k tests on block k, validates on block k + 1, trains on the rest.

    Args:
        patients: distinct patients.
        n_folds: number of blocks, at least 3 so that something is left to train on.
        seed: seed of the shuffle.

    Returns:
        `n_folds` folds named `fold0`, `fold1`, ...

    Raises:
        ValueError: If there are fewer than 3 folds or fewer patients than folds.
    """
    distinct = sorted(set(patients))
    if not MIN_FOLDS <= n_folds <= len(distinct):
        msg = (
            f"number of folds must be between {MIN_FOLDS} and the number of patients ({len(distinct)}), "
            f"got {n_folds}; add patients or write the folds by hand."
        )
        raise ValueError(msg)
    random.Random(seed).shuffle(distinct)  # noqa: S311 -- a reproducible split, not a secret
    blocks = [sorted(distinct[start::n_folds]) for start in range(n_folds)]
    return [_fold(blocks, index) for index in range(n_folds)]


def _fold(blocks: list[list[str]], index: int) -> Fold:
    validation = (index + 1) % len(blocks)
    train = [p for i, block in enumerate(blocks) if i not in {index, validation} for p in block]
    return Fold(name=f"fold{index}", train=sorted(train), val=blocks[validation], test=blocks[index])


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
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
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
    """
    temporary = path.with_name(f".{path.name}.part")
    text = manifest.model_dump_json(indent=2, by_alias=True, exclude_none=True)
    temporary.write_text(text + "\n", encoding="utf-8")
    return temporary.replace(path)


def _one_line(path: Path, error: ValidationError) -> str:
    problems = []
    for item in error.errors()[:3]:
        where = ".".join(str(part) for part in item["loc"]) or "manifest"
        got = "" if isinstance(item["input"], dict | Manifest) else f", got {item['input']!r}"
        problems.append(f"{where}: {item['msg'].removeprefix('Value error, ')}{got}")
    more = f" (and {error.error_count() - 3} more)" if error.error_count() > 3 else ""
    return f"{path}: " + "; ".join(problems) + more + "; correct the manifest (schema 1)."


def parse_brats_name(name: str) -> tuple[str, str]:
    """Split a BraTS subject into patient and timepoint.

    Args:
        name: for example `BraTS-MEN-00004-000` or a file name that starts with it.

    Returns:
        Patient and timepoint, for example `("00004", "000")`.

    Raises:
        ValueError: If the name is not of that form.
    """
    match = re.match(r"BraTS-[A-Za-z]+-(?P<patient>\d+)-(?P<timepoint>\d+)", name)
    if match is None:
        msg = f"subject must look like BraTS-MEN-00004-000, got {name!r}; give patient and timepoint."
        raise ValueError(msg)
    return match["patient"], match["timepoint"]
