"""Names of the results of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.asl.quantification.estimation import Estimate

UNITS = {"cbf": "ml/100g/min", "att": "ms", "abv": "fraction", "abat": "ms"}


@dataclass(frozen=True)
class AslPaths:
    """Where the results of a scan lie.

    Args:
        folder: Output folder.
        stem: Name of the scan, such as `sub-01`.
    """

    folder: Path
    stem: str

    def file(self, name: str) -> Path:
        """A map.

        Args:
            name: Such as `cbf` or `desc-sd_att`.
        """
        return self.folder / f"{self.stem}_{name}.nii.gz"

    @property
    def record(self) -> Path:
        """What was done and found."""
        return self.folder / f"{self.stem}_asl.json"

    @property
    def picture(self) -> Path:
        """Maps at a glance."""
        return self.folder / f"{self.stem}_asl.png"

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / f"{self.stem}_asl.html"

    def existing(self) -> list[Path]:
        """Results that lie there already, whoever made them."""
        maps = [self.file(name) for name in _MAPS]
        return [path for path in (*maps, self.picture, self.page, self.record) if path.exists()]


_MAPS = (
    "cbf",
    "att",
    "desc-sd_cbf",
    "desc-sd_att",
    "desc-fit_cbf",
    "desc-fit_att",
    "desc-bound_mask",
    "abv",
    "abat",
)


def map_files(estimate: Estimate) -> dict[str, NDArray[np.float32]]:
    """Maps by the ending of their file's name; only those that the scan could tell.

    Args:
        estimate: Of a scan.
    """
    maps, fit = estimate.maps, estimate.fit
    bounds = None if fit.att is None else estimate.at_bound.astype(np.float32)
    own = (maps.cbf, maps.att, maps.cbf_sd, maps.att_sd)
    told = (*own, fit.cbf, fit.att, bounds, estimate.abv, estimate.abat)
    return {name: values for name, values in zip(_MAPS, told, strict=True) if values is not None}
