"""The public volumes behind every figure: what they are, where they are sharp, and who may learn from them.

Files are looked up below a data folder that the caller names; none of them is part of this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from revoxel.core.pulses import Pulse


@dataclass(frozen=True)
class PublicVolume:
    """One volume with ground truth along some axes.

    Args:
        patient: Who; a patient is never in training and test at once.
        pulse: Contrast.
        file: Path below the data folder.
        axes: Array axes along which it was acquired at about 1 mm.
        licence: As its source states it.
        may_train: Whether the licence permits shipping weights trained on it.
    """

    patient: str
    pulse: Pulse
    file: str
    axes: tuple[int, ...]
    licence: str
    may_train: bool

    @property
    def name(self) -> str:
        """Patient and pulse."""
        return f"{self.patient}-{self.pulse.value}"

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


_GLIOMA = "mri/brats_gli_00001/BraTS-GLI-00001-000-{}.nii.gz"
_CC_BY = "CC BY"

VOLUMES = (
    *(
        PublicVolume("GLI", pulse, _GLIOMA.format(pulse.value), (2, 0, 1), "CC BY 4.0", may_train=True)
        for pulse in Pulse
    ),
    PublicVolume("p07", Pulse.t2f, "mri/openms/p07_FLAIR.nii.gz", (2, 0, 1), _CC_BY, may_train=True),
    PublicVolume("p19", Pulse.t2f, "mri/openms/p19_FLAIR.nii.gz", (2, 0, 1), _CC_BY, may_train=True),
    PublicVolume("p07", Pulse.t1c, "mri/openms/p07_T1POST.nii.gz", (0, 1), _CC_BY, may_train=True),
    PublicVolume("p07", Pulse.t1n, "mri/openms/p07_T1.nii.gz", (0, 1), _CC_BY, may_train=True),
    PublicVolume("p07", Pulse.t2w, "mri/openms/p07_T2.nii.gz", (0, 1), _CC_BY, may_train=True),
    PublicVolume("MRGd", Pulse.t1c, "mri/misc/MR_Gd.nii.gz", (2, 0, 1), "evaluation", may_train=False),
    PublicVolume(
        "M2208", Pulse.t2w, "mri/misc/M2208_T2w.nii.gz", (2, 0, 1), "evaluation only", may_train=False
    ),
)

# Thick-slice scans whose planes are sharp: they teach the learned experts, but are truth for nothing.
PLANES_ONLY = (
    *(f"mri/thick/TCGA-FG-6692_{name}.nii.gz" for name in ("t1", "t1c", "t2", "flair")),
    *(f"mri/thick/patient04_study1_{name}.nii.gz" for name in ("FLAIR", "T1W")),
)


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
    sharp = [v.file for v in VOLUMES if v.may_train and v.patient != left_out]
    return [*sharp, *PLANES_ONLY]
