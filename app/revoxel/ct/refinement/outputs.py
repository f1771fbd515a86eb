"""Names of the results of a refinement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Stands in the header of every volume.
DERIVED = "CT in HU, derived, not for diagnosis"
SPREAD = "model spread in HU, no error; derived, not for diagnosis"


@dataclass(frozen=True)
class CtPaths:
    """Where the results of a refinement lie.

    Args:
        folder: Output folder.
        stem: Name of the scan.
    """

    folder: Path
    stem: str

    @property
    def refined(self) -> Path:
        """The result, HU."""
        return self.folder / f"{self.stem}_refined.nii.gz"

    @property
    def added_detail(self) -> Path:
        """Refined less interpolated, HU: what the method added."""
        return self.folder / f"{self.stem}_added_detail.nii.gz"

    @property
    def model_spread(self) -> Path:
        """Standard deviation of the network over mirrored inputs, HU."""
        return self.folder / f"{self.stem}_model_spread.nii.gz"

    @property
    def dicom(self) -> Path:
        """Folder of the derived DICOM series."""
        return self.folder / f"{self.stem}_refined_dicom"

    @property
    def record(self) -> Path:
        """What was done and found."""
        return self.folder / f"{self.stem}_ct.json"

    @property
    def picture(self) -> Path:
        """Slices at a glance."""
        return self.folder / f"{self.stem}_ct.png"

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / f"{self.stem}_ct.html"

    def existing(self) -> list[Path]:
        """Results that lie there already, whoever made them."""
        files = (self.refined, self.added_detail, self.model_spread, self.picture, self.page, self.record)
        return [path for path in (*files, self.dicom) if path.exists()]
