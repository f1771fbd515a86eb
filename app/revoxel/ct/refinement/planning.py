"""Before a scan is refined: its files, whether they are there, and what was made before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nibabel
from nibabel.filebasedimages import ImageFileError
from pydicom import dcmread

from revoxel.core.dicom import find_series
from revoxel.core.done_before import as_plain, refuse_other_results, why_not_done
from revoxel.core.provenance import sha256_of
from revoxel.core.volumes import NIFTI_SUFFIXES, volume_stem
from revoxel.ct.refinement.methods import FACTOR, MethodChoice
from revoxel.ct.refinement.outputs import CtPaths
from revoxel.ct.refinement.steps import slabs
from revoxel.ct.refinement.views import ViewFiles
from revoxel.ct.xray.view_files import views_beside

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class RefineSettings:
    """How to refine.

    Args:
        choice: Interpolation, or a network.
        views: X-rays of the patient; by default those beside the scan, if there are any.
        truth: Fine CT of the same patient, to be compared with.
        allow_no_air: Accept a scan without air.
        spread: Whether to write how much the network varies over mirrored inputs.
        dicom_out: Whether to write a derived DICOM series as well.
        memory_gb: Bound for the working memory.
        overwrite: Replace results that exist.
    """

    choice: MethodChoice = field(default_factory=MethodChoice)
    views: ViewFiles | None = None
    truth: Path | None = None
    allow_no_air: bool = False
    spread: bool = False
    dicom_out: bool = False
    memory_gb: float = 4.0
    overwrite: bool = False


@dataclass(frozen=True)
class RefinePlan:
    """A refinement that can begin.

    Args:
        scan: File or DICOM folder of the coarse CT.
        views: X-rays of the patient.
        inputs: Every file that will be read, by role.
        paths: Where results go.
        request: What is asked for, as it is compared with an earlier record.
        why: Why it has to be made; empty if these very results exist already.
    """

    scan: Path
    views: ViewFiles | None
    inputs: dict[str, Path]
    paths: CtPaths
    request: dict[str, Any]
    why: str


def plan_refinement(scan: Path, out: Path, settings: RefineSettings) -> RefinePlan:
    """Check everything that can be known before images are read.

    Args:
        scan: File or DICOM folder of the coarse CT.
        out: Output folder.
        settings: How to refine.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If a file is missing.
        FileExistsError: If other results exist, and `settings` do not allow to replace them.
        ValueError: If settings contradict each other.
    """
    weights = settings.choice.weights()
    views = settings.views or _views_beside(scan)
    optional = {"truth": settings.truth, "network": weights}
    if views is not None:
        optional |= {"frontal view": views.frontal, "lateral view": views.lateral}
    inputs = {"scan": scan, **{role: path for role, path in optional.items() if path is not None}}
    for role, path in inputs.items():
        if not path.exists():
            msg = f"{path} ({role}) must be an existing file or DICOM folder, got nothing; check the path."
            raise FileNotFoundError(msg)
    paths = CtPaths(out, volume_stem(scan.resolve()))
    request = as_plain(
        {
            "views": None if views is None else vars(views.options),
            "allow_no_air": settings.allow_no_air,
            "spread": settings.spread,
            "dicom_out": settings.dicom_out,
            "sha256": {role: sha256_of(path) for role, path in inputs.items()},
        }
    )
    existing = paths.existing()
    why = why_not_done(paths.record, existing, request)
    refuse_other_results(paths.record, existing, why, overwrite=settings.overwrite)
    return RefinePlan(scan, views, inputs, paths, request, why)


def _views_beside(scan: Path) -> ViewFiles | None:
    found = views_beside(scan)
    return None if found is None else ViewFiles(*found)


def expected_size(plan: RefinePlan, settings: RefineSettings) -> dict[str, str]:
    """How large the result will be, from the headers of a NIfTI file or a DICOM series.

    Args:
        plan: Of the refinement.
        settings: The same settings.

    Returns:
        Facts for people; empty if the headers do not tell.

    Raises:
        ValueError: If the memory is too small.
    """
    shape = _shape_of(plan.scan)
    if shape is None:
        return {}
    x, y, z = shape
    n_slabs = len(list(slabs((x, y, z), FACTOR, settings.memory_gb)))
    n_bytes = 2 * FACTOR**3 * x * y * z
    return {
        "voxels": f"{x} x {y} x {z} to {FACTOR * x} x {FACTOR * y} x {FACTOR * z}",
        "file": f"{n_bytes / 1e9:.2f} GB before compression",
        "slabs": f"{n_slabs} within {settings.memory_gb:g} GB",
    }


def _shape_of(scan: Path) -> tuple[int, int, int] | None:
    try:
        if scan.is_dir():
            files = find_series(scan).files
            header = dcmread(files[0], stop_before_pixels=True, specific_tags=["Rows", "Columns"])
            return int(header.Columns), int(header.Rows), len(files)
        if scan.name.endswith(NIFTI_SUFFIXES):
            x, y, z = nibabel.load(scan).shape[:3]
            return x, y, z
    except (OSError, ValueError, AttributeError, ImageFileError):
        return None
    return None
