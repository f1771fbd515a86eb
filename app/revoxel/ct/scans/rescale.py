"""Whether the numbers of a DICOM series are Hounsfield units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revoxel.core.dicom import find_series

if TYPE_CHECKING:
    from pathlib import Path

_HU_TYPES = {"", "HU", "US"}


def check_rescale(path: Path) -> None:
    """Refuse a DICOM series whose stored values cannot be turned into HU; other formats hold HU or nothing.

    Args:
        path: Folder of a series; a file, or nothing at all, is left to the reader.

    Raises:
        ValueError: If the series is no CT, lacks its rescale tags, or states another unit.
    """
    if not path.is_dir():
        return
    from pydicom import dcmread

    for file in find_series(path).files:
        tags = ["Modality", "RescaleSlope", "RescaleIntercept", "RescaleType"]
        header = dcmread(file, stop_before_pixels=True, specific_tags=tags)
        if header.get("Modality") != "CT":
            msg = f"{file} must be a CT slice, got modality {header.get('Modality')!r}; give a CT series."
            raise ValueError(msg)
        if header.get("RescaleSlope") is None or header.get("RescaleIntercept") is None:
            msg = (
                f"{file} must state RescaleSlope and RescaleIntercept, got neither or one; "
                "export the series again, or convert it to a NIfTI file in HU."
            )
            raise ValueError(msg)
        if str(header.get("RescaleType", "")) not in _HU_TYPES:
            msg = f"{file} must be in HU, got unit {header.RescaleType!r}; give the series in HU."
            raise ValueError(msg)
