"""The JSON file beside X-ray views that says how they were taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from revoxel.core.volumes import atomic_path
from revoxel.ct.xray.geometry import GeometryKind, View, XrayGeometry

if TYPE_CHECKING:
    from typing import Self

_DEFAULT = XrayGeometry()


class GeometryRecord(BaseModel):
    """How two views were taken and how their display copies were made.

    Attributes:
        kind: Parallel rays or a cone.
        source_to_isocentre_mm: Of a cone.
        source_to_detector_mm: Of a cone.
        pixel_mm: Side of a pixel on the detector; without it the volume's longest side fills the detector.
        size: Pixels per side.
        display_max_nepers: What the brightest grey value of the display copies stands for, by view; black
            is 0. Without it their scale is unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: GeometryKind = GeometryKind.CONE
    source_to_isocentre_mm: PositiveFloat = _DEFAULT.source_to_isocentre_mm
    source_to_detector_mm: PositiveFloat = _DEFAULT.source_to_detector_mm
    pixel_mm: PositiveFloat | None = None
    size: int = _DEFAULT.size
    display_max_nepers: dict[View, PositiveFloat] | None = None

    @classmethod
    def of(cls, geometry: XrayGeometry, display_max_nepers: dict[View, float] | None = None) -> Self:
        """Record of a geometry."""
        return cls(**vars(geometry), display_max_nepers=display_max_nepers)

    @property
    def geometry(self) -> XrayGeometry:
        """What the projector takes.

        Raises:
            ValueError: If the numbers do not fit each other.
        """
        return XrayGeometry(**self.model_dump(exclude={"display_max_nepers"}))


def read_geometry(path: Path | str) -> GeometryRecord:
    """Read a geometry file.

    Args:
        path: JSON file of `revoxel ct drr`, or written by hand with the fields of `GeometryRecord`.

    Returns:
        The record.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is no such record; the message names the field.
    """
    path = Path(path)
    try:
        record = GeometryRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
        record.geometry  # noqa: B018 - refuses numbers that do not fit each other
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "file"
        msg = f"{path}: {field} must be right ({first['msg']}), got {first['input']!r}; correct the file."
        raise ValueError(msg) from error
    except FileNotFoundError:
        msg = f"{path} must be a geometry JSON file, got nothing there; check the path."
        raise FileNotFoundError(msg) from None
    except ValueError as error:
        msg = f"{path} must be a geometry in JSON, got '{error}'; correct the file."
        raise ValueError(msg) from error
    return record


def write_geometry(path: Path, record: GeometryRecord, *, overwrite: bool = False) -> Path:
    """Write a geometry file, whole or not at all.

    Args:
        path: JSON file.
        record: What to write.
        overwrite: Replace a file that exists.

    Returns:
        `path`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        OSError: If it cannot be written.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path
