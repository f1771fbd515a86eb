"""Which scans a study is made of: found in folders, named, and told apart by patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from revoxel.core.geometry import Grid
from revoxel.core.provenance import sha256_of
from revoxel.core.volumes import ITK_SUFFIXES, NIFTI_SUFFIXES, read_volume, volume_stem
from revoxel.ct.scans.study import NOT_STATED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from revoxel.ct.scans.study import CtRow

_SAME_PLACE_MM = 0.01


@dataclass(frozen=True)
class CtSource:
    """One scan to prepare.

    Attributes:
        path: File, or folder of a DICOM series.
        name: What its files are named after.
        patient_id: Whose it is.
        patient_is_stated: Whether a user said so; else it is the name.
        licence: On which terms it may be used.
        weights_may_ship: Whether weights trained on it may be given away.
        sha256: Of the file, or of the folder's files together.
        origin_mm: Where its first voxel lies.
        spacing_mm: Its voxel size, axes as stored.
    """

    path: Path
    name: str
    patient_id: str
    patient_is_stated: bool
    licence: str
    weights_may_ship: bool
    sha256: str
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]

    @property
    def place(self) -> tuple[float, ...]:
        """What scans of different people rarely share."""
        return (*self.origin_mm, *self.spacing_mm)


@dataclass(frozen=True)
class Statements:
    """What a user says about scans, by their names.

    Attributes:
        patient_ids: Whose a scan is.
        licences: Its terms; under the empty name, those of all others.
        weights_may_ship: Names of scans whose terms permit giving away weights trained on them.
    """

    patient_ids: Mapping[str, str]
    licences: Mapping[str, str]
    weights_may_ship: Collection[str] = ()


def find_scans(paths: Sequence[Path]) -> list[Path]:
    """Find every scan in files and folders.

    Args:
        paths: Files, folders of a DICOM series, or folders of these.

    Returns:
        Files and DICOM folders.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If a folder holds no scan.
    """
    found = []
    for path in paths:
        if not path.exists():
            msg = f"{path} must be an existing file or folder, got nothing there; check the path."
            raise FileNotFoundError(msg)
        found += _scans_in(path) if path.is_dir() else [path]
    return found


def describe_sources(paths: Sequence[Path], said: Statements) -> list[CtSource]:
    """Name scans, and refuse those that may be one patient's under two names.

    Args:
        paths: Scans.
        said: What the user states about them.

    Returns:
        One description per scan.

    Raises:
        ValueError: If names repeat, a statement is about no scan, a scan is listed twice, or two scans lie at
            one place and nobody said whose they are.
    """
    names = [volume_stem(path) for path in paths]
    _check_names(names, said)
    sources = [_described(path, name, said) for path, name in zip(paths, names, strict=True)]
    for index, source in enumerate(sources):
        for other in sources[:index]:
            _check_pair(other, source)
    return sources


def check_apart(sources: Sequence[CtSource], rows: Sequence[CtRow]) -> None:
    """Refuse new scans that may be of a patient whom a study knows under another name.

    Args:
        sources: New scans.
        rows: What the study holds already.

    Raises:
        ValueError: If a scan lies where one of another patient lies, and nobody said whose it is.
    """
    for source in sources:
        for row in rows:
            place = (*(row.source_origin_mm or ()), *(row.source_spacing_mm or ()))
            same = len(place) == len(source.place) and np.allclose(place, source.place, atol=_SAME_PLACE_MM)
            if same and not source.patient_is_stated and row.patient_id != source.patient_id:
                raise ValueError(_one_place(row.name, source.name))


def _described(path: Path, name: str, said: Statements) -> CtSource:
    grid = _grid(path)
    x, y, z = (float(value) for value in grid.affine[:3, 3])
    return CtSource(
        path=path,
        name=name,
        patient_id=said.patient_ids.get(name, name),
        patient_is_stated=name in said.patient_ids,
        licence=said.licences.get(name, said.licences.get("", NOT_STATED)),
        weights_may_ship=name in said.weights_may_ship,
        sha256=sha256_of(path),
        origin_mm=(x, y, z),
        spacing_mm=grid.spacing_mm,
    )


def _scans_in(folder: Path) -> list[Path]:
    files = sorted(item for item in folder.iterdir() if not item.name.startswith("."))
    volumes = [item for item in files if item.name.lower().endswith((*NIFTI_SUFFIXES, *ITK_SUFFIXES))]
    series = [item for item in files if item.is_dir() and _holds_dicom(item)]
    if _holds_dicom(folder) and not volumes:
        return [folder]
    if not volumes and not series:
        msg = f"{folder} must hold CT volumes or a DICOM series, got neither; give the folder of the files."
        raise ValueError(msg)
    return [*volumes, *series]


def _holds_dicom(folder: Path) -> bool:
    from pydicom.misc import is_dicom

    return any(item.is_file() and is_dicom(item) for item in folder.iterdir())


def _check_names(names: Sequence[str], said: Statements) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        msg = f"scans must have names of their own, got {', '.join(twice)} more than once; rename the files."
        raise ValueError(msg)
    spoken = {*said.patient_ids, *said.licences, *said.weights_may_ship} - {"", *names}
    if spoken:
        msg = (
            f"statements must be about {', '.join(names)}, got {', '.join(sorted(spoken))}; correct the name."
        )
        raise ValueError(msg)


def _check_pair(first: CtSource, second: CtSource) -> None:
    if first.sha256 == second.sha256:
        msg = f"{second.path} must differ from {first.path}, got the same bytes; leave one out."
        raise ValueError(msg)
    stated = first.patient_is_stated and second.patient_is_stated
    if first.patient_id == second.patient_id or stated:
        return
    if np.allclose(first.place, second.place, atol=_SAME_PLACE_MM):
        raise ValueError(_one_place(first.name, second.name))


def _one_place(first: str, second: str) -> str:
    return (
        f"{first} and {second} must be of known patients, got the same origin and grid for both, as parts of "
        "one scan have; state both with --patient-id NAME=PATIENT."
    )


def _grid(path: Path) -> Grid:
    """Grid of a scan; that of a NIfTI file without its voxels."""
    if path.is_file() and path.name.lower().endswith(NIFTI_SUFFIXES):
        try:
            image = nibabel.load(path)
            return Grid(image.shape[:3], image.affine)
        except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
            pass  # the reader says what is wrong with the file
    return read_volume(path).grid
