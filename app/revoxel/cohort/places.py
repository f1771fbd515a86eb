"""What a task's files are called and where they lie: a folder per task, or a tree of BIDS derivatives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from revoxel.core.paths import dataset_root, entities
from revoxel.core.volumes import volume_stem

_BIDS_NAME = re.compile(
    r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z0-9]+-[A-Za-z0-9]+)*)_(?P<suffix>[A-Za-z0-9]+)"
)


class Layout(StrEnum):
    """How the results of a cohort are laid out."""

    PLAIN = "plain"
    BIDS = "bids"


@dataclass(frozen=True)
class Places:
    """Names of one task's files.

    Args:
        folder: Where they lie, relative to the root of the results.
        start: What every name begins with.
        end: BIDS suffix that every name ends with; empty for names as `revoxel superresolve` gives them.
    """

    folder: Path
    start: str
    end: str = ""

    def name(self, label: str, ending: str) -> str:
        """Name of one file.

        Args:
            label: What it holds: `sagnef`, `weights`, `dominant`, `entropy`, `SR-EXPERT`.
            ending: Such as `.nii.gz`.

        Returns:
            `START_LABEL.nii.gz`, or `START_desc-label_END.nii.gz`; weights in BIDS, being 4D,
            `START_label-END_desc-weights_probseg.nii.gz`.
        """
        if not self.end:
            return f"{self.start}_{label}{ending}"
        if label == "weights":
            # BIDS keeps its image suffixes for 3D volumes; of maps with channels it knows these.
            return f"{self.start}_label-{self.end}_desc-weights_probseg{ending}"
        return f"{self.start}_desc-{label.removeprefix('SR-').lower()}_{self.end}{ending}"

    def path(self, label: str, ending: str) -> Path:
        """Path of one file, relative to the root of the results."""
        return self.folder / self.name(label, ending)


def plain_places(scan: Path, task_name: str) -> Places:
    """A folder per task; names as `revoxel superresolve` gives them.

    Args:
        scan: The scan.
        task_name: Subject, spacing and pulse.
    """
    return Places(Path(task_name), volume_stem(scan))


def bids_places(scan: Path) -> Places:
    """BIDS derivatives of a BIDS scan: the same entities, and one more that says what a file holds.

    Args:
        scan: The scan, such as `sub-01_ses-02_ce-gadolinium_T1w.nii.gz`.

    Raises:
        ValueError: If that is no BIDS name.
    """
    match = _BIDS_NAME.fullmatch(volume_stem(scan))
    if match is None:
        msg = f"{scan.name} must be a BIDS name such as sub-01_T1w.nii.gz; use --layout plain."
        raise ValueError(msg)
    labels = entities(volume_stem(scan))
    folder = Path(f"sub-{labels['sub']}")
    if "ses" in labels:
        folder /= f"ses-{labels['ses']}"
    return Places(folder / "anat", match["entities"], match["suffix"])


def is_bids(scan: Path) -> bool:
    """Whether a file has a BIDS name and lies in a BIDS dataset.

    Args:
        scan: The file.
    """
    return _BIDS_NAME.fullmatch(volume_stem(scan)) is not None and dataset_root(scan) is not None
