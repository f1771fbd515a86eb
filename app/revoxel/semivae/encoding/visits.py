"""Which visits there are to encode: from a study file, or found by file names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from revoxel.core.pulse_names import PULSE_WORDS, pulse_of, without_pulse
from revoxel.core.pulses import Pulse
from revoxel.core.volumes import ITK_SUFFIXES, NIFTI_SUFFIXES, volume_stem
from revoxel.semivae.study import read_study

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

STUDY_FILE = "study.json"
_LABEL_WORDS = frozenset({"seg", "dseg", "segmentation", "label", "labels"})


@dataclass(frozen=True)
class Visit:
    """Images of one visit.

    Attributes:
        name: What its results are called.
        images: File by pulse; any number from one to four.
        label: Its label map, if there is one.
        patient_id: Whose it is, if a study says so.
        time_years: When it was, likewise.
    """

    name: str
    images: Mapping[Pulse, Path] = field(default_factory=dict)
    label: Path | None = None
    patient_id: str | None = None
    time_years: float | None = None

    def checked_images(self) -> dict[str, Path]:
        """Images by the name of their pulse, each of which is there.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If there is no image.
        """
        if not self.images:
            msg = f"{self.name} must have an image, got none; name its images in the study file."
            raise ValueError(msg)
        for pulse, path in self.images.items():
            check_file(path, f"{pulse.value} of {self.name}")
        return {pulse.value: path for pulse, path in self.images.items()}


def check_file(path: Path, what: str) -> None:
    """Refuse a file that is not there.

    Args:
        path: The file.
        what: Whose it is, for the message.

    Raises:
        FileNotFoundError: If it is missing.
    """
    if not path.exists():
        msg = f"{path} ({what}) must be an existing file, got nothing; check the path."
        raise FileNotFoundError(msg)


def find_visits(inputs: Sequence[Path]) -> list[Visit]:
    """Find the visits to encode.

    Args:
        inputs: A study file, or a folder that holds one (`study.json`); else folders and image files whose
            names state the pulse (BraTS, BIDS, TCGA). Files of one folder whose names differ in the pulse
            alone are one visit.

    Returns:
        The visits, in order of their names or of the study.

    Raises:
        FileNotFoundError: If an input does not exist.
        ValueError: If nothing is found, names repeat, or a visit has two images of one pulse.
    """
    for path in inputs:
        if not path.exists():
            msg = f"{path} must be an existing study, folder or image, got nothing there; check the path."
            raise FileNotFoundError(msg)
    studies = [study for path in inputs if (study := _study_of(path)) is not None]
    if studies and len(inputs) > 1:
        msg = f"a study must be given alone, got {studies[0]} and others; encode them one after the other."
        raise ValueError(msg)
    visits = _visits_of(studies[0]) if studies else _by_names(inputs)
    twice = sorted(name for name, count in Counter(visit.name for visit in visits).items() if count > 1)
    if twice:
        msg = f"visits must have names of their own, got {', '.join(twice)} more than once; rename the files."
        raise ValueError(msg)
    return visits


def _study_of(path: Path) -> Path | None:
    if path.suffix == ".json":
        return path
    return path / STUDY_FILE if (path / STUDY_FILE).is_file() else None


def _visits_of(study_file: Path) -> list[Visit]:
    study = read_study(study_file)
    return [
        Visit(
            scan.scan_id,
            {pulse: study.resolve(path) for pulse, path in scan.images.items()},
            study.resolve(scan.label),
            scan.patient_id,
            scan.time_years,
        )
        for scan in study.scans
    ]


def _by_names(inputs: Sequence[Path]) -> list[Visit]:
    files = dict.fromkeys(file for path in inputs for file in _volumes(path))
    labels = [file for file in files if _is_label(file)]
    found: defaultdict[tuple[Path, str], dict[Pulse, Path]] = defaultdict(dict)
    for file in files:
        pulse = None if file in labels else _pulse(file, wanted=file in inputs)
        if pulse is None:
            continue
        images = found[file.parent, _shared_name(file)]
        if pulse in images:
            msg = f"a visit must have one image per pulse, got {images[pulse]} and {file}; leave one out."
            raise ValueError(msg)
        images[pulse] = file
    if not found:
        msg = (
            f"{inputs[0]} must hold images whose names state a pulse ({', '.join(Pulse)}), got none; rename "
            "them, or write a study file."
        )
        raise ValueError(msg)
    visits = {key: Visit(key[1], images) for key, images in found.items()}
    return sorted(_with_labels(visits, labels), key=lambda visit: visit.name)


def _volumes(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = (item for item in path.rglob("*") if not _is_hidden(item.relative_to(path)))
    return sorted(item for item in files if item.name.lower().endswith((*NIFTI_SUFFIXES, *ITK_SUFFIXES)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_label(file: Path) -> bool:
    return not _LABEL_WORDS.isdisjoint(re.split(r"[-_]", volume_stem(file).lower()))


def _pulse(file: Path, *, wanted: bool) -> Pulse | None:
    """Pulse of an image; of files that merely lie in a folder, those that state none are passed over."""
    try:
        return pulse_of(file)
    except ValueError:
        if wanted:
            raise
        return None


def _shared_name(file: Path) -> str:
    """What the files of a visit share: their names up to the pulse, or their folder's name."""
    name = without_pulse(file)
    return file.absolute().parent.name if name.lower() in PULSE_WORDS else name


def _with_labels(visits: Mapping[tuple[Path, str], Visit], labels: Iterable[Path]) -> list[Visit]:
    """Give each visit the label map of its name; a folder of one visit gives it its only label map."""
    whose = dict(visits)
    folders = Counter(folder for folder, _name in visits)
    n_labels = Counter(label.parent for label in labels)
    for label in labels:
        key = label.parent, without_pulse(label, _LABEL_WORDS)
        if key not in visits and folders[label.parent] == n_labels[label.parent] == 1:
            key = next(one for one in visits if one[0] == label.parent)
        if key in visits:
            whose[key] = replace(visits[key], label=label)
    return list(whose.values())
