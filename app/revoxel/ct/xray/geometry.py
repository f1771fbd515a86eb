"""Where source, patient and detector stand.

The centre of the volume is the isocentre. Images are upright and radiological: row 0 is superior; column 0 is
the patient's right in the frontal view and anterior in the lateral view. A cone's source stands behind the
patient in the frontal view (PA) and at the patient's right in the lateral view (left lateral).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum


class GeometryKind(StrEnum):
    """How rays run."""

    PARALLEL = "parallel"
    CONE = "cone"


class View(StrEnum):
    """The two views, in the order of channels."""

    FRONTAL = "frontal"
    LATERAL = "lateral"

    @property
    def depth_axis(self) -> int:
        """Axis of `(x, y, z)` that the central ray runs along."""
        return 1 if self is View.FRONTAL else 0

    @property
    def column_axis(self) -> int:
        """Axis of `(x, y, z)` that image columns run along; rows run along z."""
        return 1 - self.depth_axis

    @property
    def source_side(self) -> int:
        """Sign of the source's coordinate on the depth axis, in RAS."""
        return -1 if self is View.FRONTAL else 1


@dataclass(frozen=True)
class XrayGeometry:
    """Geometry of both views.

    Attributes:
        kind: Parallel rays, or a cone from a point source.
        source_to_isocentre_mm: Of a cone; parallel rays ignore it.
        source_to_detector_mm: Of a cone. The detector may stand inside the volume: rays go through all of it.
        pixel_mm: Side of a pixel on the detector; `None` fits the longest side of the volume, magnified as at
            the isocentre.
        size: Pixels per side of the square detector.

    Raises:
        ValueError: If a length is not positive, or the detector stands before the isocentre.
    """

    kind: GeometryKind | str = GeometryKind.PARALLEL
    source_to_isocentre_mm: float = 850.0
    source_to_detector_mm: float = 1020.0
    pixel_mm: float | None = None
    size: int = 256

    def __post_init__(self) -> None:
        """Check the numbers and make the kind an enum."""
        if self.kind not in set(GeometryKind):
            msg = f"kind must be parallel or cone, got {self.kind!r}; choose one of the two."
            raise ValueError(msg)
        object.__setattr__(self, "kind", GeometryKind(self.kind))
        for name in ("source_to_isocentre_mm", "source_to_detector_mm", "pixel_mm"):
            length_mm = getattr(self, name)
            if length_mm is not None and not (math.isfinite(length_mm) and length_mm > 0):
                msg = f"{name} must be a positive length, got {length_mm}; state it in mm."
                raise ValueError(msg)
        if self.size < 2:
            msg = f"size must be at least 2 pixels, got {self.size}; 256 is usual."
            raise ValueError(msg)
        if self.source_to_detector_mm < self.source_to_isocentre_mm:
            msg = (
                f"source_to_detector_mm must not be below source_to_isocentre_mm, got "
                f"{self.source_to_detector_mm:g} and {self.source_to_isocentre_mm:g}; swap them."
            )
            raise ValueError(msg)

    @property
    def magnification(self) -> float:
        """Size on the detector of what lies at the isocentre, over its own size."""
        if self.kind is GeometryKind.PARALLEL:
            return 1.0
        return self.source_to_detector_mm / self.source_to_isocentre_mm

    def on(self, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> XrayGeometry:
        """Geometry with the pixel that it has for a volume.

        Args:
            shape: Voxels along x, y, z.
            spacing_mm: Voxel size along x, y, z.

        Returns:
            The same geometry, `pixel_mm` stated.
        """
        longest_mm = max(n * step for n, step in zip(shape, spacing_mm, strict=True))
        return replace(self, pixel_mm=self.pixel_mm or longest_mm * self.magnification / self.size)
