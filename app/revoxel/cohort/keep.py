"""Move a task's files from its working folder to their places, and account for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.cohort.plan import Task, done_record
from revoxel.core.paths import dataset_root
from revoxel.core.provenance import read_sidecar, write_sidecar
from revoxel.core.volumes import NIFTI_SUFFIXES, RESEARCH_USE, atomic_path, volume_stem

if TYPE_CHECKING:
    from collections.abc import Mapping

_NIFTI, _JSON = NIFTI_SUFFIXES[0], ".json"
_FUSED = "sagnef"
_DESCRIPTIONS = {
    "sagnef": "Isotropic volume fused from super-resolution experts, in the units of the scan",
    "weights": "Weight of each expert per voxel; 4D, in the order of Experts",
    "dominant": "Index of the expert with the largest weight, in the order of Experts",
    "entropy": "Entropy of the experts' weights in nats",
}


def keep_results(task: Task, out: Path, work: Path, seconds: float) -> None:
    """Move results to their places; older results of the same task are removed.

    Each file is whole at every moment. The account comes last: without it a task counts as not done.

    Args:
        task: Names of the results.
        out: Root of the results.
        work: Folder with everything that was made.
        seconds: What it took.

    Raises:
        OSError: If a file cannot be moved.
    """
    files = _labelled(task, work)
    _rewrite_records(task, files)
    targets = {task.places.path(*key): source for key, source in _labelled(task, work).items()}
    account = done_record(task, out)
    old = _old_outputs(account)
    account.unlink(missing_ok=True)
    for name in old - {str(path) for path in targets}:
        (out / name).unlink(missing_ok=True)
    sizes = {str(path): source.stat().st_size for path, source in targets.items()}
    # The record comes last: a reader that finds it finds the rest.
    for path in sorted(targets, key=lambda path: path == task.record):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        targets[path].replace(out / path)
    write_sidecar(account, {"identity": task.identity, "outputs": sizes, "seconds": seconds}, overwrite=True)


def _labelled(task: Task, work: Path) -> dict[tuple[str, str], Path]:
    """Files by label and ending: `scan_weights.nii.gz` is `weights`, `.nii.gz`; `scan.nii.gz` the result."""
    stem, found = volume_stem(task.row.lr), {}
    for path in sorted(path for path in work.iterdir() if path.is_file()):
        label, dot, ending = path.name.removeprefix(stem).partition(".")
        found[label.removeprefix("_") or _FUSED, dot + ending] = path
    return found


def _old_outputs(account: Path) -> set[str]:
    try:
        return set(read_sidecar(account)["outputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _rewrite_records(task: Task, files: Mapping[tuple[str, str], Path]) -> None:
    """Names in the record are those at the places; in BIDS every volume has a sidecar that BIDS reads."""
    record_file = files.get((_FUSED, _JSON))
    record = read_sidecar(record_file) if record_file else {}
    if record_file:
        _write(record_file, record | {"outputs": _output_names(task, files)})
    if not task.places.end:
        return
    for label, ending in [key for key in files if key[1] == _NIFTI]:
        volume = files[label, ending]
        sidecar = volume.with_name(f"{volume_stem(task.row.lr)}_{label}{_JSON}")
        known = read_sidecar(sidecar) if sidecar.is_file() else {}
        _write(sidecar, known | _bids_fields(task, label, record))


def _output_names(task: Task, files: Mapping[tuple[str, str], Path]) -> dict[str, Any]:
    kinds = {"fused": (_FUSED, _NIFTI), "figure": (_FUSED, ".png")}
    kinds |= {label: (label, _NIFTI) for label in ("weights", "dominant", "entropy")}
    experts = [label for label, ending in files if label.startswith("SR-") and ending == _NIFTI]
    return {
        **{kind: task.places.name(*key) for kind, key in kinds.items() if key in files},
        "experts": {label.removeprefix("SR-"): task.places.name(label, _NIFTI) for label in experts},
    }


def _bids_fields(task: Task, label: str, record: Mapping[str, Any]) -> dict[str, Any]:
    expert = label.removeprefix("SR-")
    described = _DESCRIPTIONS.get(label, f"Volume of the super-resolution expert {expert}")
    fields: dict[str, Any] = {
        "Description": f"{described}; {RESEARCH_USE}",
        "Sources": [_bids_uri(task.row.lr)],
        "SpatialReference": _bids_uri(task.row.lr),
        "SkullStripped": _skull_stripped(task.row.lr),
    }
    if label in {"weights", "dominant"}:
        fields["Experts"] = list(record.get("mean_weight", {}))
    if label in {"weights", "dominant", "entropy"}:
        fields["Sources"] = [f"bids::{task.places.path(_FUSED, _NIFTI).as_posix()}"]
    return fields


def _bids_uri(scan: Path) -> str:
    root = dataset_root(scan)
    return f"bids:raw:{scan.relative_to(root).as_posix()}" if root else scan.name


def _skull_stripped(scan: Path) -> bool:
    """What the scan's sidecar says; raw scans of a dataset that says nothing have their skulls."""
    sidecar = scan.with_name(f"{volume_stem(scan)}{_JSON}")
    try:
        return bool(read_sidecar(sidecar).get("SkullStripped", False))
    except (OSError, ValueError):
        return False


def _write(path: Path, record: Mapping[str, Any]) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
