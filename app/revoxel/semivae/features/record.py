"""What is measured on a label map, under which names, and how a result looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Raised whenever a value of the same name would come out differently.
SCHEMA_VERSION: Final = "1"

#: Labels of BraTS: necrotic core 1, oedema 2, enhancing tumour 3.
BRATS_REGIONS: Mapping[str, tuple[int, ...]] = {
    "wt": (1, 2, 3),
    "tc": (1, 3),
    "et": (3,),
    "ncr": (1,),
    "ed": (2,),
}
_PLACE_UNITS = {
    "volume_mm3": "mm^3",
    "log_volume": "ln(mm^3)",
    "centroid_r_mm": "mm",
    "centroid_a_mm": "mm",
    "centroid_s_mm": "mm",
    "n_components": "1",
}
_SHAPE_UNITS = {
    "surface_mm2": "mm^2",
    "log_surface": "ln(mm^2)",
    "sphericity": "1",
    "solidity": "1",
    "elongation": "1",
    "flatness": "1",
}


class Mesh(StrEnum):
    """What is meshed for surface and sphericity."""

    BINARY = "binary"
    SMOOTH = "smooth"


class Origin(StrEnum):
    """Where centroids are measured from."""

    IMAGE_CENTER = "image_center"
    WORLD = "world"


class Flag(StrEnum):
    """What a reader should know about a label map."""

    EMPTY = "empty"
    TOUCHES_CROP_BORDER = "touches_crop_border"
    TOUCHES_MASK_EDGE = "touches_mask_edge"
    MULTI_COMPONENT = "multi_component"
    BELOW_MIN_VOXELS = "below_min_voxels"
    FROM_TABLE = "from_table"


@dataclass(frozen=True)
class FeatureSettings:
    """What to measure.

    Args:
        regions: Labels by name of a region; labels of no region are refused.
        shape_regions: Regions whose surface and shape are measured.
        min_voxels: Smaller regions have no shape: it would be that of the voxel grid.
        mesh: `binary` (IBSI), or `smooth`: a Gaussian of 0.7 voxels first, which makes a sphere's sphericity
            0.99 instead of 0.92 but loses surface below a radius of 3 voxels.
        origin: Centroids relative to the volume's centre, or in the scanner's coordinates.

    Raises:
        ValueError: If a shape region is unknown, a region has no positive label, or `min_voxels` is below 1.
    """

    regions: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: BRATS_REGIONS)
    shape_regions: tuple[str, ...] = ("wt", "tc")
    min_voxels: int = 27
    mesh: Mesh = Mesh.BINARY
    origin: Origin = Origin.IMAGE_CENTER

    def __post_init__(self) -> None:
        """Refuse regions that cannot be measured."""
        unknown = sorted(set(self.shape_regions) - set(self.regions))
        if unknown:
            msg = f"shape_regions must be among {sorted(self.regions)}, got {unknown}; add them to regions."
            raise ValueError(msg)
        bad = {name: labels for name, labels in self.regions.items() if not labels or min(labels) < 1}
        if bad or not self.regions:
            msg = f"regions must name labels from 1 on, got {bad or 'no region'}; 0 is the background."
            raise ValueError(msg)
        if self.min_voxels < 1:
            msg = f"min_voxels must be at least 1, got {self.min_voxels}; use 27."
            raise ValueError(msg)

    def units(self) -> dict[str, str]:
        """Unit by name of every feature, in the order of a record."""
        return {
            f"{region}.{name}": unit
            for region in self.regions
            for name, unit in (_PLACE_UNITS | (_SHAPE_UNITS if region in self.shape_regions else {})).items()
        }


@dataclass(frozen=True)
class FeatureRecord:
    """Features of one label map.

    Attributes:
        values: Value by name, such as `wt.volume_mm3`; NaN where it is not defined, never a stand-in.
        present: Whether a region has any voxel.
        flags: What a reader should know.
        units: Unit by name.
        schema_version: Version of the definitions; records of two versions are never mixed.
    """

    values: Mapping[str, float]
    present: Mapping[str, bool]
    flags: frozenset[Flag]
    units: Mapping[str, str]
    schema_version: str = SCHEMA_VERSION
