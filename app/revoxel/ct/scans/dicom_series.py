r"""A refined CT as a derived DICOM series that a viewer or archive lays beside its source.

Written slice by slice as CT images: `DERIVED\SECONDARY`, new series and instance UIDs, stored values are HU
(16 bits, signed, slope 1, intercept 0). With a source series its patient, study and frame of reference are
kept, and how it was compressed if that lost anything. Without one no patient is named: the fields that DICOM
requires are empty, and study and frame of reference are new, so nothing is filed under a person by mistake.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from revoxel import __version__
from revoxel.core.dicom import find_series
from revoxel.core.geometry import Grid
from revoxel.core.volumes import RESEARCH_USE
from revoxel.ct.scans.grids import check_straight

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

_RAS_TO_LPS = np.diag((-1.0, -1.0, 1.0, 1.0))
_TO_LPS_AXES = np.array([[0, -1], [1, -1], [2, 1]])
#: Copied from a source where it has them; of these the first are required, and empty where it has not.
_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "PatientPosition",
    "PositionReferenceIndicator",
)
_OPTIONAL = (
    "SpecificCharacterSet",
    "IssuerOfPatientID",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "BodyPartExamined",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_DERIVED_SERIES = 9000


def write_dicom_series(
    volume_hu: NDArray[Any], affine: NDArray[np.float64], reference_series: Path | None, folder: Path
) -> Path:
    """Write a volume as a derived series, whole or not at all.

    Args:
        volume_hu: `(x, y, z)` in HU; rounded to whole ones.
        affine: `(4, 4)` voxel index to RAS mm, any straight orientation.
        reference_series: Folder of the DICOM series that it was made of; `None` if it was no DICOM.
        folder: Where the slices go; new or empty. Slices run from foot to head, rows from front to back.

    Returns:
        `folder`.

    Raises:
        FileExistsError: If `folder` holds something.
        FileNotFoundError: If there is no folder of the reference.
        OSError: If it cannot be written; nothing is left behind.
        ValueError: If the volume is no finite 3D volume in the range of int16, the axes are sheared, or the
            reference is no series.
    """
    stored = _stored(volume_hu)
    grid = Grid(stored.shape, affine)
    check_series(grid, reference_series, folder)
    data, lps = _in_lps_order(stored, grid)
    series = _series_dataset(reference_series, lps)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".partial.") as hidden:
            target = Path(hidden) / folder.name
            target.mkdir()
            for index in range(data.shape[2]):
                _write_slice(series, data[:, :, index].T, lps, index, target / f"CT.{index + 1:05d}.dcm")
            target.replace(folder)
    except OSError as error:
        msg = f"{folder} must be writable, got '{error.strerror or error}'; free space or choose another."
        raise OSError(msg) from error
    return folder


def check_series(grid: Grid, reference_series: Path | None, folder: Path) -> None:
    """Refuse early what `write_dicom_series` could not write.

    Args:
        grid: Of the volume.
        reference_series: Folder of the source, or `None`.
        folder: Where the slices are to go.

    Raises:
        FileExistsError: If `folder` holds something.
        FileNotFoundError: If there is no folder of the source.
        ValueError: If the axes are sheared, or the source is no series.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} must be a new or empty folder, got one that holds something; choose another output."
        raise FileExistsError(msg)
    check_straight(grid, "the volume")
    if reference_series is not None:
        if not reference_series.is_dir():
            msg = f"{reference_series} must be the folder of a DICOM series, got none; give its folder."
            raise FileNotFoundError(msg)
        find_series(reference_series)


def _stored(volume_hu: NDArray[Any]) -> NDArray[np.int16]:
    values = np.rint(np.asarray(volume_hu, dtype=np.float32))
    limits = np.iinfo(np.int16)
    fits = values.ndim == 3 and bool(((values >= limits.min) & (values <= limits.max)).all())
    if not fits:
        msg = (
            f"volume_hu must be a finite 3D volume from {limits.min} to {limits.max} HU, got shape "
            f"{values.shape}, {values.min():g} to {values.max():g}; give one CT in HU."
        )
        raise ValueError(msg)
    return values.astype(np.int16)


def _in_lps_order(data: NDArray[np.int16], grid: Grid) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Turn axes so that columns run to the left, rows to the back, slices to the head; affine to LPS mm."""
    turned = io_orientation(grid.affine)
    # nibabel's codes are relative to RAS: flip the first two axes of the canonical order.
    turned[:, 1] *= _TO_LPS_AXES[turned[:, 0].astype(int), 1]
    affine = grid.affine @ inv_ornt_aff(turned, grid.shape)
    return apply_orientation(data, turned), _RAS_TO_LPS @ affine


def _series_dataset(reference_series: Path | None, lps: NDArray[np.float64]) -> Dataset:
    """Everything that all slices share."""
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage, generate_uid

    source = _first_slice(reference_series)
    now = datetime.now(UTC)
    series = Dataset()
    for name in _REQUIRED:
        setattr(series, name, source.get(name) or "")
    for name in _OPTIONAL:
        if source.get(name):
            setattr(series, name, source.get(name))
    series.SOPClassUID = CTImageStorage
    series.Modality = "CT"
    series.StudyInstanceUID = source.get("StudyInstanceUID") or generate_uid(prefix=None)
    series.FrameOfReferenceUID = source.get("FrameOfReferenceUID") or generate_uid(prefix=None)
    series.SeriesInstanceUID = generate_uid(prefix=None)
    series.SeriesNumber = _DERIVED_SERIES + int(source.get("SeriesNumber") or 0)
    series.SeriesDescription = "revoxel CT refinement, research use"
    series.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    series.BurnedInAnnotation = "NO"
    series.DerivationDescription = f"Refined by revoxel {__version__}: {RESEARCH_USE}"
    series.ImageComments = f"Computed image: {RESEARCH_USE}"
    series.Manufacturer = "revoxel"
    series.SoftwareVersions = __version__
    series.ContentDate, series.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    series.SeriesDate, series.SeriesTime = series.ContentDate, series.ContentTime
    series.TimezoneOffsetFromUTC = "+0000"
    series.AcquisitionNumber, series.KVP = None, None
    _describe_geometry(series, lps)
    return series


def _first_slice(reference_series: Path | None) -> Dataset:
    from pydicom import Dataset, dcmread

    if reference_series is None:
        return Dataset()
    first = find_series(reference_series).files[0]
    return dcmread(first, stop_before_pixels=True, specific_tags=[*_REQUIRED, *_OPTIONAL, *_UIDS])


_UIDS = ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber")


def _describe_geometry(series: Dataset, lps: NDArray[np.float64]) -> None:
    spacing_mm = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing_mm
    series.ImageOrientationPatient = _decimals([*directions[:, 0], *directions[:, 1]])
    # Between rows first: DICOM counts pixel spacing down the columns.
    series.PixelSpacing = _decimals([spacing_mm[1], spacing_mm[0]])
    series.SliceThickness = series.SpacingBetweenSlices = _decimals([spacing_mm[2]])[0]
    series.SamplesPerPixel, series.PhotometricInterpretation = 1, "MONOCHROME2"
    series.BitsAllocated = series.BitsStored = 16
    series.HighBit, series.PixelRepresentation = 15, 1
    series.RescaleSlope, series.RescaleIntercept, series.RescaleType = "1", "0", "HU"


def _write_slice(
    series: Dataset, pixels: NDArray[np.int16], lps: NDArray[np.float64], index: int, path: Path
) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    series.SOPInstanceUID = generate_uid(prefix=None)
    series.InstanceNumber = index + 1
    series.ImagePositionPatient = _decimals(lps[:3, 3] + index * lps[:3, 2])
    series.Rows, series.Columns = pixels.shape
    series.PixelData = np.ascontiguousarray(pixels, dtype="<i2").tobytes()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = series.SOPClassUID
    meta.MediaStorageSOPInstanceUID = series.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    series.file_meta = meta
    series.save_as(path, enforce_file_format=True)


def _decimals(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters, as DICOM wants them."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value)) for value in values]
