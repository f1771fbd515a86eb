"""The public volumes behind every figure: what they are, where they are sharp, and who may learn from them.

The facts stand in `data_manifests/public_volumes.json`. Files are looked up below a data folder that the
caller names; none of them is part of this project. To check that a folder holds these very files:

    python benchmarks/public_volumes.py --data DATA
"""

from __future__ import annotations

import argparse
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.console import Console
from rich.progress import track

from revoxel.core.provenance import sha256_of
from revoxel.core.pulses import Pulse
from revoxel.core.strict_json import Sha256

CATALOGUE = Path(__file__).resolve().parents[1] / "data_manifests" / "public_volumes.json"
Size = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0)]
Axis = Annotated[int, Field(ge=0, le=2)]


class Role(StrEnum):
    """What a volume is used for."""

    TRAIN = "train"  # truth to train on, and to evaluate those that were trained without the patient
    EVALUATE = "evaluate"  # truth, never trained on
    PLANES = "planes"  # thick slices whose sharp planes teach the learned experts; truth for nothing
    SCAN = "scan"  # real thick slices to look at; truth for nothing
    LABELS = "labels"  # regions of a patient's truth
    PERFUSION = "perfusion"  # ASL images and their M0; never trained on
    CT_TRAIN = "ct_train"  # CT that shipped weights may be trained on
    CT_EVALUATE = "ct_evaluate"  # CT that nothing that ships was trained on


_WITHOUT_PULSE = {Role.LABELS, Role.PERFUSION, Role.CT_TRAIN, Role.CT_EVALUATE}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Source(_Record):
    """Where volumes come from, and on which terms.

    Attributes:
        title: What the source calls itself.
        url: Where it is; None if it was not recorded.
        licence: As the source states it.
        weights_may_ship: Whether the licence permits shipping weights trained on it.
        attribution: What a model card must say.
    """

    title: str
    url: str | None
    licence: str
    weights_may_ship: bool
    attribution: str


class PublicVolume(_Record):
    """One volume.

    Attributes:
        source: Key of its source.
        role: What it is used for.
        patient: Who; a patient is never in training and test at once.
        pulse: Contrast of MRI; None for labels, perfusion and CT.
        file: Path below the data folder; a folder for a DICOM series.
        axes: Array axes along which it was acquired at about 1 mm, in the order in which they are used.
        shape: Voxels, and images where there are several.
        spacing_mm: Voxel size, as the header states it.
        skull_stripped: Whether only the brain is left.
        sha256: Fingerprint of the file.
        note: What else one should know.
    """

    source: str
    role: Role
    patient: str
    pulse: Pulse | None
    file: str
    axes: Annotated[tuple[Axis, ...], Field(alias="true_axes")]
    shape: Annotated[tuple[Size, ...], Field(min_length=3, max_length=5)]
    spacing_mm: tuple[Length, Length, Length]
    skull_stripped: bool
    sha256: Sha256
    note: str = ""

    @property
    def may_train(self) -> bool:
        """Whether it is truth that shipped weights may be trained on."""
        return self.role is Role.TRAIN

    @property
    def name(self) -> str:
        """Patient and pulse."""
        return f"{self.patient}-{self.pulse}"

    def path(self, data: Path) -> Path:
        """The file, which must exist.

        Raises:
            FileNotFoundError: If it does not.
        """
        path = data / self.file
        if not path.is_file():
            msg = f"{path} must exist; pass the folder that holds {self.file} as --data."
            raise FileNotFoundError(msg)
        return path


class Catalogue(_Record):
    """Every public volume that the project's figures rest on, with its source."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    sources: dict[str, Source]
    volumes: tuple[PublicVolume, ...]

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        files = [volume.file for volume in self.volumes]
        for row, volume in enumerate(self.volumes):
            truth = volume.role in {Role.TRAIN, Role.EVALUATE}
            teaches = volume.role in {Role.TRAIN, Role.PLANES, Role.CT_TRAIN}
            if volume.source not in self.sources:
                msg = f"volumes.{row}.source must be one of {sorted(self.sources)}, got {volume.source!r}"
            elif files.count(volume.file) > 1:
                msg = f"volumes.{row}.file must be listed once, got {volume.file!r} twice"
            elif teaches and not self.sources[volume.source].weights_may_ship:
                msg = f"volumes.{row}.role must not be {volume.role}: its licence bars shipping weights"
            elif truth != bool(volume.axes) or (volume.pulse is None) != (volume.role in _WITHOUT_PULSE):
                msg = f"volumes.{row} must have true_axes if it is truth, and a pulse unless it is "
                msg += "labels, perfusion or CT"
            else:
                continue
            raise ValueError(msg)
        return self

    def of(self, *roles: Role) -> tuple[PublicVolume, ...]:
        """Volumes of these roles, in the catalogue's order."""
        return tuple(volume for volume in self.volumes if volume.role in roles)


def load_catalogue(path: Path = CATALOGUE) -> Catalogue:
    """Read a catalogue.

    Raises:
        ValueError: If a field is wrong.
    """
    return Catalogue.model_validate_json(path.read_bytes())


ALL = load_catalogue()
#: Volumes with ground truth along some axes.
VOLUMES = ALL.of(Role.TRAIN, Role.EVALUATE)


def find_volume(name: str) -> PublicVolume:
    """The volume of a name such as `GLI-t1c`.

    Raises:
        ValueError: If there is none.
    """
    for volume in VOLUMES:
        if volume.name == name:
            return volume
    msg = f"volume must be one of {', '.join(v.name for v in VOLUMES)}, got {name!r}."
    raise ValueError(msg)


def warm_folder(patient: str) -> str:
    """Folder of the warm starts that did not see this patient: `all` for one that nobody trained on."""
    trained = any(volume.may_train for volume in VOLUMES if volume.patient == patient)
    return f"without-{patient}" if trained else "all"


def planes_for(folder: str) -> list[str]:
    """Files whose planes teach the warm starts of a folder that `warm_folder` names."""
    left_out = folder.removeprefix("without-")
    return [v.file for v in ALL.of(Role.TRAIN, Role.PLANES) if v.patient != left_out]


def differences(data: Path) -> list[str]:
    """Files that are not in a data folder as the catalogue describes them."""
    found = []
    for volume in track(ALL.volumes, "files", console=Console(stderr=True)):
        path = data / volume.file
        if not path.exists():
            found.append(f"{volume.file}: missing")
        elif sha256_of(path) != volume.sha256:
            found.append(f"{volume.file}: another file than the catalogue's")
    return found


def main() -> None:
    """Compare a data folder with the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    lines = differences(parser.parse_args().data)
    print("\n".join(lines) or f"all {len(ALL.volumes)} files are those of the catalogue")
    raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()
