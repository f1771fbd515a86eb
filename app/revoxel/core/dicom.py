"""A folder of DICOM slices as one volume: geometry from the tags, pixels through ITK's GDCM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revoxel.core.reasons import reason_of

if TYPE_CHECKING:
    from pydicom import Dataset

POSITION_TOLERANCE = 0.01
_ORIENTATION_TOLERANCE = 1e-3
_TAGS = [
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "NumberOfFrames",
    "Rows",
]


@dataclass(frozen=True, eq=False)
class Series:
    """The slices of one DICOM series, in order along the slice normal.

    Attributes:
        folder: Where they lie.
        files: Slice files, first to last.
        affine_lps: `(4, 4)` voxel index `(column, row, slice)` to LPS mm; a gantry tilt stays a shear.
        thickness_mm: Slice thickness tag, or `None`.
        notes: Gaps, overlaps and disagreeing tags, one sentence each.
    """

    folder: Path
    files: tuple[Path, ...]
    affine_lps: NDArray[np.float64]
    thickness_mm: float | None
    notes: tuple[str, ...]


def find_series(folder: Path) -> Series:
    """Order the slices of a folder and derive their geometry.

    Args:
        folder: Folder that holds one DICOM series, other files beside it allowed.

    Returns:
        The ordered series.

    Raises:
        ValueError: If there is no series, more than one, a multi-frame file, or unequal spacing.
    """
    headers = _read_headers(folder)
    _check_one_volume(folder, headers)
    normal = np.cross(*_directions(next(iter(headers.values()))))
    ordered = sorted(headers, key=lambda file: float(_position(headers[file]) @ normal))
    slices = [headers[file] for file in ordered]
    step = _uniform_step(folder, np.array([_position(item) for item in slices]), normal)
    thickness_mm = _number(slices[0], "SliceThickness")
    notes = _notes(slices[0], thickness_mm, float(np.linalg.norm(step)))
    return Series(folder, tuple(ordered), _affine(slices[0], step), thickness_mm, notes)


def read_pixels(series: Series) -> NDArray[np.float32]:
    """Read the slices in rescaled units, such as HU.

    Args:
        series: Ordered slices.

    Returns:
        `(column, row, slice)` float32.

    Raises:
        ValueError: If a slice cannot be decoded.
    """
    import itk

    try:
        image = itk.imread([str(file) for file in series.files], itk.F)
    except (RuntimeError, OSError) as error:
        msg = f"{series.folder} must hold readable DICOM slices, got '{reason_of(error)}'; export it again."
        raise ValueError(msg) from error
    return np.ascontiguousarray(itk.array_from_image(image).T)


def _read_headers(folder: Path) -> dict[Path, Dataset]:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    headers = {}
    for file in sorted(item for item in folder.iterdir() if item.is_file()):
        try:
            header = dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        except (InvalidDicomError, EOFError, OSError):
            continue
        if "SeriesInstanceUID" in header and "Rows" in header:
            headers[file] = header
    return headers


def _check_one_volume(folder: Path, headers: dict[Path, Dataset]) -> None:
    if len(headers) < 2:
        msg = f"{folder} must hold a DICOM series of several slices, got {len(headers)}; give its folder."
        raise ValueError(msg)
    n_series = len({header.SeriesInstanceUID for header in headers.values()})
    if n_series > 1:
        msg = f"{folder} must hold one DICOM series, got {n_series}; put each series in its own folder."
        raise ValueError(msg)
    first = next(iter(headers.values()))
    for file, header in headers.items():
        if (_number(header, "NumberOfFrames") or 1) > 1:
            msg = f"{file} must be one slice, got many frames; convert it with dcm2niix."
            raise ValueError(msg)
        if "ImagePositionPatient" not in header or "PixelSpacing" not in header:
            msg = f"{file} must state ImagePositionPatient and PixelSpacing, got neither; leave it out."
            raise ValueError(msg)
        if not np.allclose(_directions(header), _directions(first), atol=_ORIENTATION_TOLERANCE):
            msg = f"{file} must be parallel to the other slices, got another orientation; remove it."
            raise ValueError(msg)


def _uniform_step(
    folder: Path, positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean vector between neighbouring slices, refused where any neighbour lies elsewhere."""
    steps = np.diff(positions, axis=0)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    distances_mm = steps @ normal
    spacing_mm = float(np.median(distances_mm))
    if distances_mm.min() < 1e-3:
        msg = f"{folder} must hold one 3D volume, got two slices at one position; split it."
        raise ValueError(msg)
    deviation_mm = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    worst = int(np.argmax(deviation_mm))
    if deviation_mm[worst] > POSITION_TOLERANCE * spacing_mm + 0.01:
        msg = (
            f"{folder} must have equally spaced slices, got {distances_mm[worst]:.3f} mm after slice "
            f"{worst + 1} where {spacing_mm:.3f} mm is usual; add the missing slices or resample first."
        )
        raise ValueError(msg)
    return np.asarray(step, dtype=np.float64)


def _affine(first: Dataset, step: NDArray[np.float64]) -> NDArray[np.float64]:
    row_spacing_mm, column_spacing_mm = (float(value) for value in first.PixelSpacing)
    along_row, along_column = _directions(first)
    affine = np.eye(4)
    affine[:3, 0] = along_row * column_spacing_mm
    affine[:3, 1] = along_column * row_spacing_mm
    affine[:3, 2] = step
    affine[:3, 3] = _position(first)
    return affine


def _notes(first: Dataset, thickness_mm: float | None, separation_mm: float) -> tuple[str, ...]:
    notes = []
    stated_mm = _number(first, "SpacingBetweenSlices")
    if stated_mm and abs(stated_mm / separation_mm - 1) > 0.05:
        notes.append(
            f"SpacingBetweenSlices states {stated_mm:g} mm, the positions {separation_mm:.3g} mm; "
            "the positions are used."
        )
    if thickness_mm and abs(thickness_mm / separation_mm - 1) > 0.01:
        kind = "a gap" if thickness_mm < separation_mm else "an overlap"
        notes.append(f"slices of {thickness_mm:g} mm lie {separation_mm:.3g} mm apart: there is {kind}.")
    return tuple(notes)


def _directions(header: Dataset) -> NDArray[np.float64]:
    default = [1, 0, 0, 0, 1, 0]
    return np.array(header.get("ImageOrientationPatient", default), dtype=np.float64).reshape(2, 3)


def _position(header: Dataset) -> NDArray[np.float64]:
    return np.array(header.ImagePositionPatient, dtype=np.float64)


def _number(header: Dataset, tag: str) -> float | None:
    value = header.get(tag)
    return float(value) if value not in {None, ""} and float(value) > 0 else None
