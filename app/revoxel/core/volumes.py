"""Read volumes of any common format with their voxel-centre RAS affine; write NIfTI whole or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from revoxel.core.geometry import Grid
from revoxel.core.reasons import reason_of

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
RESEARCH_USE = "research use, not for diagnosis"
_LPS_TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))
_UNREADABLE = (
    EOFError,
    OSError,
    ValueError,
    MemoryError,
    OverflowError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
)
_MAX_DESCRIPTION_BYTES = 79
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D image and where it lies.

    Attributes:
        data: `(i, j, k)` float32 in file order and file units.
        grid: Its voxel grid.
        path: File or DICOM folder that it was read from.
        thickness_mm: Slice thickness stated by DICOM tags or a BIDS sidecar; `None` where nothing states it.
        notes: What a user should know about the input, one sentence each.

    Raises:
        ValueError: If data and grid differ in shape.
    """

    data: NDArray[np.float32]
    grid: Grid
    path: Path | None = None
    thickness_mm: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse data that do not fit the grid."""
        if self.data.shape != self.grid.shape:
            msg = f"data must have its grid's shape {self.grid.shape}, got {self.data.shape}; use its grid."
            raise ValueError(msg)


def volume_stem(path: Path) -> str:
    """Name a volume without its suffix.

    Args:
        path: NIfTI, NRRD or MetaImage file, or a DICOM folder.

    Returns:
        File name up to the format's suffix; the folder's own name for a DICOM series.
    """
    for suffix in (*NIFTI_SUFFIXES, *ITK_SUFFIXES):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def volume_sidecar(path: Path) -> Path:
    """Name the JSON record that lies beside a volume.

    Args:
        path: Volume file or DICOM folder.

    Returns:
        `{stem}.json` in the same folder, whether it exists or not.
    """
    return path.with_name(f"{volume_stem(path)}.json")


def read_volume(path: Path | str, *, allow_constant: bool = False) -> Volume:
    """Read one 3D volume.

    Args:
        path: `.nii`, `.nii.gz`, `.nrrd`, `.nhdr`, `.mha` or `.mhd` file, or a folder with one DICOM series.
        allow_constant: Accept a volume of one value, such as an empty label map.

    Returns:
        Finite, not constant volume with its grid, stated slice thickness and notes.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is not one usable 3D volume; the message is one line that names the file.
    """
    path = Path(path)
    if not path.exists():
        msg = f"{path} must be an existing file or DICOM folder, got nothing there; check the path."
        raise FileNotFoundError(msg)
    if path.is_dir():
        return _read_dicom(path, allow_constant=allow_constant)
    name = path.name.lower()
    if not name.endswith((*NIFTI_SUFFIXES, *ITK_SUFFIXES)):
        known = ", ".join((*NIFTI_SUFFIXES, *ITK_SUFFIXES))
        msg = (
            f"{path} must be one of {known}, or the folder of a DICOM series; convert it or give its folder."
        )
        raise ValueError(msg)
    if path.stat().st_size == 0:
        msg = f"{path} must hold an image, got an empty file; copy or convert it again."
        raise ValueError(msg)
    data, affine, notes = _read_nifti(path) if name.endswith(NIFTI_SUFFIXES) else _read_itk(path)
    grid = _grid_of(path, data, affine)
    thickness_mm, sidecar_notes = _read_bids(path, grid)
    values = _checked(path, data, allow_constant=allow_constant)
    return Volume(values, grid, path, thickness_mm, (*notes, *sidecar_notes))


def write_volume(
    path: Path | str,
    data: NDArray[Any],
    grid: Grid,
    *,
    overwrite: bool = False,
    description: str = RESEARCH_USE,
    dtype: type[np.generic] = np.float32,
) -> Path:
    """Write a NIfTI file, whole or not at all.

    Args:
        path: `.nii` or `.nii.gz`; missing folders are made.
        data: `(i, j, k)` or channel-last `(i, j, k, channel)`, finite.
        grid: Its voxel grid.
        overwrite: Replace a file that exists.
        description: Text for the header, cut at 79 bytes.
        dtype: Type of the voxels in the file; values are rounded for whole numbers.

    Returns:
        `path`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        OSError: If it cannot be written; nothing is left behind.
        ValueError: If `path` is not NIfTI, or `data` does not fit the grid or `dtype` or is not finite.
    """
    path = Path(path)
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        msg = f"{path} must end in .nii or .nii.gz, got {path.name!r}; results are written as NIfTI."
        raise ValueError(msg)
    values = np.asarray(data, dtype=np.float32)
    if values.shape[:3] != grid.shape or values.ndim not in {3, 4}:
        msg = (
            f"data for {path} must be {grid.shape} with optional channels, got {values.shape}; use its grid."
        )
        raise ValueError(msg)
    if not np.isfinite(values).all():
        msg = f"data for {path} must be finite, got NaN or infinity; this is a defect of the step before."
        raise ValueError(msg)
    image = nibabel.Nifti1Image(_stored_as(values, dtype, path), grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code="scanner")
    image.set_qform(grid.affine, code="scanner")
    image.header["descrip"] = description.encode()[:_MAX_DESCRIPTION_BYTES]
    with atomic_path(path, overwrite=overwrite) as temporary:
        nibabel.save(image, temporary)
    return path


def _stored_as(values: NDArray[np.float32], dtype: type[np.generic], path: Path) -> NDArray[Any]:
    """Values in the file's type; never wrapped round its ends."""
    if not issubclass(dtype, np.integer):
        return values.astype(dtype, copy=False)
    limits, whole = np.iinfo(dtype), np.rint(values)
    if whole.min() < limits.min or whole.max() > limits.max:
        msg = (
            f"data for {path} must fit {limits.dtype} ({limits.min} to {limits.max}), got {whole.min():g} to "
            f"{whole.max():g}; clip it or scale it first."
        )
        raise ValueError(msg)
    return whole.astype(dtype)


@contextmanager
def atomic_path(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block succeeds and vanishes when it fails.

    Args:
        path: Final file; missing folders are made.
        overwrite: Replace a file that exists.

    Yields:
        Path in the same folder with the same suffixes, to be written by the block.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        OSError: If the folder or file cannot be written; the message names `path`.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        msg = f"{path} must not exist yet; pass --overwrite to replace it, or choose another output."
        raise FileExistsError(msg)
    temporary = path.with_name(f".{uuid4().hex[:8]}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None and not _concerns(error.filename, temporary):
            raise
        reason = error.strerror or str(error)
        msg = f"{path} must be writable, got '{reason}'; free space or choose another output folder."
        raise OSError(msg) from error
    finally:
        _discard(temporary)


def _concerns(filename: str | bytes, temporary: Path) -> bool:
    """Tell whether a system error is about the output rather than some input read in the same block."""
    named = Path(filename if isinstance(filename, str) else filename.decode(errors="replace"))
    return named == temporary or named in temporary.parents


def _discard(temporary: Path) -> None:
    # Below a folder that cannot be entered even asking for the file may fail: nothing to remove then.
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return


def _read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    try:
        with LoggingOutputSuppressor():
            image = nibabel.load(path)
            _check_nifti(path, image)
            data = image.get_fdata(dtype=np.float32).reshape(image.shape[:3])
    except _BadImageError:
        raise
    except _UNREADABLE as error:
        raise ValueError(_unreadable(path, error)) from error
    notes = []
    if int(image.header["qform_code"]) == 0 and int(image.header["sform_code"]) == 0:
        notes.append(f"{path.name} states no orientation: left and right may be swapped.")
    return data, image.affine, notes


class _BadImageError(ValueError):
    """A finding of our own that must not be reworded as a read error."""


def _check_nifti(path: Path, image: SpatialImage) -> None:
    if image.get_data_dtype().kind not in "biuf":
        kind = image.get_data_dtype()
        msg = f"{path} must hold one real number per voxel, got {kind}; convert it to a grey image."
        raise _BadImageError(msg)
    if len(image.shape) < 3 or max(image.shape[3:], default=1) > 1:
        raise _BadImageError(_not_3d(path, image.shape))
    # The header as stored: nibabel repairs zero and negative voxel sizes in silence.
    with ImageOpener(path) as file:
        stored = type(image.header).from_fileobj(file, check=False)["pixdim"][1:4]
        # nibabel stops after the last voxel; only at the end of the stream is its checksum compared.
        while file.read(_CHUNK_BYTES):
            pass
    if not (np.isfinite(stored).all() and (stored > 0).all()):
        msg = f"{path} must have positive voxel spacing, got {stored.tolist()} mm; repair its header."
        raise _BadImageError(msg)


def _read_itk(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    import itk

    try:
        image = itk.imread(path)
        array = itk.array_from_image(image)
    except (RuntimeError, TypeError, KeyError, *_UNREADABLE) as error:
        raise ValueError(_unreadable(path, error)) from error
    if image.GetImageDimension() != 3 or array.ndim != 3:
        raise ValueError(_not_3d(path, array.shape[::-1]))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return array.T.astype(np.float32, order="C"), _LPS_TO_RAS @ affine, []


def _read_dicom(folder: Path, *, allow_constant: bool) -> Volume:
    from revoxel.core.dicom import find_series, read_pixels

    series = find_series(folder)
    data = read_pixels(series)
    grid = _grid_of(folder, data, _LPS_TO_RAS @ series.affine_lps)
    values = _checked(folder, data, allow_constant=allow_constant)
    return Volume(values, grid, folder, series.thickness_mm, series.notes)


def _read_bids(path: Path, grid: Grid) -> tuple[float | None, list[str]]:
    """Slice thickness and disagreements from the JSON beside a volume, if there is one."""
    sidecar = volume_sidecar(path)
    if not sidecar.is_file():
        return None, []
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        thickness_mm = _positive(record.get("SliceThickness"))
        separation_mm = _positive(record.get("SpacingBetweenSlices"))
    except (ValueError, TypeError, AttributeError):
        return None, [f"{sidecar.name} is not a readable JSON sidecar and was ignored."]
    measured_mm = max(grid.spacing_mm)
    notes = []
    if separation_mm and abs(separation_mm / measured_mm - 1) > 0.05:
        notes.append(
            f"{sidecar.name} states {separation_mm:g} mm between slices, the header {measured_mm:.3g} mm; "
            "the header is used."
        )
    if thickness_mm and thickness_mm < 0.99 * measured_mm:
        notes.append(f"slices of {thickness_mm:g} mm lie {measured_mm:.3g} mm apart: there is a gap.")
    return thickness_mm, notes


def _positive(value: object) -> float | None:
    number = float(value) if isinstance(value, int | float | str) else 0.0
    return number if 0 < number < np.inf else None


def _grid_of(path: Path, data: NDArray[np.float32], affine: NDArray[np.float64]) -> Grid:
    try:
        return Grid(data.shape, affine)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error


def _checked(path: Path, data: NDArray[np.float32], *, allow_constant: bool) -> NDArray[np.float32]:
    n_bad = data.size - int(np.isfinite(data).sum())
    if n_bad:
        msg = f"{path} must be finite, got {n_bad} NaN or infinite voxels; replace them before use."
        raise ValueError(msg)
    if data.min() == data.max() and not allow_constant:
        msg = f"{path} must show something, got the constant {data.flat[0]:g}; give an image with contrast."
        raise ValueError(msg)
    return np.ascontiguousarray(data)


def _not_3d(path: Path, shape: tuple[int, ...]) -> str:
    return f"{path} must be one 3D volume, got shape {tuple(shape)}; split it and give one volume."


def _unreadable(path: Path, error: BaseException) -> str:
    return f"{path} must be a readable image, got '{reason_of(error)}'; it may be cut off: copy it again."
