"""From a BIDS dataset or a BraTS folder to rows of a manifest: thick scans, and truths that fit them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from revoxel.core.geometry import (
    SAME_GRID_TOLERANCE_VOXELS,
    Grid,
    isotropic_grid,
    slice_axis,
    whole_voxel_shift,
)
from revoxel.core.paths import entities
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.reasons import reason_of
from revoxel.core.volumes import NIFTI_SUFFIXES, volume_sidecar, volume_stem
from revoxel.sagnef.study.layouts import patient_of, scan
from revoxel.sagnef.study.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SUFFIX_PULSES = {"T1w": Pulse.t1n, "T2w": Pulse.t2w, "FLAIR": Pulse.t2f}
_GADOLINIUM = ("gad", "gd")
# What the name of a row says already; the others tell two scans of one session and pulse apart.
_SAID = ("sub", "ses", "ce")
# pybids reads the sidecars of all it indexes: what is no anatomy is not looked at.
_NO_ANATOMY = re.compile(r"/(func|dwi|fmap|perf|pet|meg|eeg|ieeg|emg|beh|motion|nirs|micr|mrs)(/|$)")
_BRATS = "**/{subject}[-_]{pulse}"
_FINE_MM = 1.5
_SAME = 0.05


@dataclass(frozen=True)
class Scan:
    """One volume whose header was read.

    Args:
        path: The file.
        fields: Subject, patient, time point, pulse, condition.
        grid: Its voxel grid; None if the header cannot be read.
        problem: Why it cannot be read.
        stated: What sidecars state, inherited ones included.
    """

    path: Path
    fields: Mapping[str, str]
    grid: Grid | None = None
    problem: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Rows, and what is no row.

    Args:
        rows: Thick scans, with their truths where there are any.
        notes: Volumes that are neither scan nor truth, and sidecars that contradict headers, a line each.
    """

    rows: list[Row]
    notes: list[str]


def find_bids(root: Path) -> Findings:
    """Read a BIDS dataset: names and headers, no voxels.

    Args:
        root: Folder with `dataset_description.json`.

    Returns:
        One row per thick scan.

    Raises:
        FileNotFoundError: If there is no such dataset.
        ValueError: If it has no thick scan.
    """
    if not (root / "dataset_description.json").is_file():
        msg = f"{root} must be a BIDS dataset, got no dataset_description.json in it; check --bids."
        raise FileNotFoundError(msg)
    files = _bids_files(root)
    scans = [_bids_scan(file, pulse) for file in files if (pulse := _bids_pulse(file.get_entities()))]
    strange = [f"{file.filename}: no pulse of ours" for file in files if not _bids_pulse(file.get_entities())]
    found = _findings(root, scans)
    return replace(found, notes=[*strange, *found.notes])


def find_brats(root: Path) -> Findings:
    """Read a folder of volumes with BraTS names, such as `BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1c`.

    Args:
        root: The folder.

    Returns:
        One row per thick scan.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no thick scan.
    """
    if not root.is_dir():
        msg = f"{root} must be a folder with BraTS volumes, got nothing there; check --brats."
        raise FileNotFoundError(msg)
    found = [file for file in scan(root, [_BRATS]) if file.path.name.lower().endswith(NIFTI_SUFFIXES)]
    return _findings(root, [_with_header(file.path, _brats_fields(file.fields)) for file in found])


def _bids_files(root: Path) -> list[Any]:
    from bids import BIDSLayout, BIDSLayoutIndexer

    indexer = BIDSLayoutIndexer(validate=False, ignore=[_NO_ANATOMY, "derivatives", "sourcedata", "code"])
    layout = BIDSLayout(root, validate=False, derivatives=False, indexer=indexer)
    return layout.get(datatype="anat", suffix=list(_SUFFIX_PULSES), extension=list(NIFTI_SUFFIXES))


def _bids_pulse(labels: Mapping[str, str]) -> Pulse | None:
    """Of the models' pulses; with a contrast agent only T1 with gadolinium is one."""
    pulse, agent = _SUFFIX_PULSES[labels["suffix"]], str(labels.get("ceagent", "")).lower()
    if not agent:
        return pulse
    return Pulse.t1c if pulse is Pulse.t1n and agent.startswith(_GADOLINIUM) else None


def _bids_scan(file: Any, pulse: Pulse) -> Scan:
    path, labels = Path(file.path), file.get_entities()
    patient, timepoint = labels["subject"], labels.get("session")
    further = {key: label for key, label in entities(volume_stem(path)).items() if key not in _SAID}
    fields = {
        "subject": f"sub-{patient}" + (f"_ses-{timepoint}" if timepoint else ""),
        "patient": patient,
        "timepoint": timepoint or "000",
        "pulse": pulse.value,
        "condition": "_".join(f"{key}-{label}" for key, label in further.items()),
    }
    return _with_header(path, fields, file.get_metadata())


def _brats_fields(fields: Mapping[str, str]) -> dict[str, str]:
    patient, timepoint = patient_of(fields["subject"])
    return {**fields, "patient": patient, "timepoint": timepoint}


def _with_header(path: Path, fields: Mapping[str, str], stated: Mapping[str, Any] | None = None) -> Scan:
    found = Scan(path, fields, stated=stated or {})
    try:
        image = nibabel.load(path)
        return replace(found, grid=Grid(tuple(image.shape[:3]), image.affine))
    except (OSError, EOFError, ValueError, ImageFileError, HeaderDataError) as error:
        return replace(found, problem=reason_of(error))


def _findings(root: Path, scans: list[Scan]) -> Findings:
    thick = [one for one in scans if one.problem or _is_thick(one)]
    fine = [one for one in scans if one.grid is not None and max(one.grid.spacing_mm) <= _FINE_MM]
    if not any(one.grid for one in thick):
        msg = (
            f"{root} must hold scans with slices {Spacing.mm3.range_mm[0]:g}-{Spacing.mm7.range_mm[1]:g} mm "
            f"apart, got none among {len(scans)} volumes; make them (revoxel simulate), or check the folder."
        )
        raise ValueError(msg)
    rows = [_row(one, fine) for one in thick]
    used = {path for row in rows for path in (row.lr, row.hr)}
    others = [_why_not(one) for one in scans if one.path not in used]
    return Findings(rows, [*others, *(note for one in thick for note in _contradictions(one))])


def _is_thick(one: Scan) -> bool:
    if one.grid is None:
        return False
    try:
        Spacing.from_separation(one.grid.spacing_mm[slice_axis(one.grid)])
    except ValueError:
        return False
    return True


def _row(one: Scan, fine: Iterable[Scan]) -> Row:
    if one.problem:
        return Row(one.fields, one.path, problems=(f"lr: {one.problem}",))
    same = [
        truth
        for truth in fine
        if (truth.fields["subject"], truth.fields["pulse"]) == (one.fields["subject"], one.fields["pulse"])
        and _lies_on_grid(truth, one)
    ]
    return Row(one.fields, one.path, same[0].path if same else None)


def _lies_on_grid(truth: Scan, one: Scan) -> bool:
    """Another acquisition of the same head is no truth: it lies where the patient lay then."""
    if truth.grid is None or one.grid is None:
        return False
    axis = slice_axis(one.grid)
    goal = isotropic_grid(one.grid, axis, truth.grid.spacing_mm[axis])
    _, offset = whole_voxel_shift(truth.grid, goal)
    return offset <= SAME_GRID_TOLERANCE_VOXELS


def _why_not(one: Scan) -> str:
    sizes = "unknown" if one.grid is None else " x ".join(f"{size:.3g}" for size in one.grid.spacing_mm)
    return f"{one.path.name}: voxels of {sizes} mm: no thick scan, and no truth on the grid of one"


def _contradictions(one: Scan) -> list[str]:
    """Inherited sidecars are read here only; one beside the scan is compared when the scan is read."""
    if one.grid is None or volume_sidecar(one.path).is_file():
        return []
    measured_mm = max(one.grid.spacing_mm)
    stated = {key: one.stated.get(key) for key in ("SpacingBetweenSlices", "SliceThickness")}
    notes = []
    separation_mm, thickness_mm = stated.values()
    if isinstance(separation_mm, int | float) and abs(separation_mm / measured_mm - 1) > _SAME:
        notes.append(
            f"{one.path.name}: sidecars state {separation_mm:g} mm between slices, the header "
            f"{measured_mm:.3g} mm; the header is used"
        )
    if isinstance(thickness_mm, int | float) and thickness_mm < (1 - _SAME) * measured_mm:
        notes.append(f"{one.path.name}: slices of {thickness_mm:g} mm lie {measured_mm:.3g} mm apart: a gap")
    return notes
