"""Measure every scan of a study once: in parallel, resumable, each row with the hash of its label map."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.geometry import offset_voxels
from revoxel.core.provenance import sha256_of, write_sidecar
from revoxel.core.reasons import one_line
from revoxel.core.volumes import Volume, read_volume
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.record import SCHEMA_VERSION, FeatureSettings
from revoxel.semivae.features.resampled import NetworkGrid, resampled_volume_mm3
from revoxel.semivae.features.table import (
    RESAMPLED,
    FeatureTable,
    check_table_path,
    read_table,
    row_of,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from revoxel.semivae.study import TumourScan, TumourStudy

_ALIGNED_MM = 1e-3
_WARN_CHANGE = 0.05
_UNITS = {RESAMPLED: "mm^3"}


@dataclass(frozen=True)
class PrecomputeSettings:
    """How a table is made.

    Args:
        features: What to measure.
        grid: The network's cube for the volume after resampling; `None` measures the native one only.
        n_workers: Processes.
        overwrite: Measure every scan again.
    """

    features: FeatureSettings = field(default_factory=FeatureSettings)
    grid: NetworkGrid | None = field(default_factory=NetworkGrid)
    n_workers: int = 1
    overwrite: bool = False

    def described(self) -> dict[str, Any]:
        """What the values depend on, as plain JSON."""
        regions = {name: list(labels) for name, labels in self.features.regions.items()}
        plain = {
            "regions": regions,
            "shape_regions": list(self.features.shape_regions),
            "min_voxels": self.features.min_voxels,
            "mesh": self.features.mesh.value,
            "origin": self.features.origin.value,
            "grid": None if self.grid is None else asdict(self.grid),
        }
        return json.loads(json.dumps(plain))


@dataclass(frozen=True)
class Precomputed:
    """How it went.

    Attributes:
        table: Rows of the scans that could be measured, in the study's order.
        n_kept: Rows taken over because label map and settings are unchanged.
        failed: Reason by scan.
        warnings: What a reader should look at, by scan.
    """

    table: FeatureTable
    n_kept: int
    failed: Mapping[str, str]
    warnings: Mapping[str, str]


@dataclass(frozen=True)
class _Outcome:
    scan_id: str
    row: dict[str, Any] | None = None
    kept: bool = False
    reason: str = ""


@dataclass(frozen=True)
class _Task:
    scan: TumourScan
    label: Path
    images: tuple[Path, ...]
    settings: PrecomputeSettings
    known: Mapping[str, Any] | None


def precompute_features(
    study: TumourStudy,
    out: Path,
    settings: PrecomputeSettings | None = None,
    progress: Callable[[float], None] | None = None,
) -> Precomputed:
    """Measure all scans of a study and write the table.

    Rows of an earlier or interrupted run are kept where the label map's hash and the settings are the same.
    A scan that cannot be measured is listed and does not stop the others.

    Args:
        study: Whose scans.
        out: `.parquet` or `.json`; a record with versions, settings, failures and warnings lies beside it.
        settings: How.
        progress: Called with the share of the scans done.

    Returns:
        The table and how it went.

    Raises:
        ValueError: If `out` is no table, or holds rows of another schema or other settings.
        OSError: If it cannot be written.
    """
    settings = settings or PrecomputeSettings()
    check_table_path(out)
    journal = out.with_name(f".{out.name}.rows.jsonl")
    described = settings.described()
    known = {} if settings.overwrite else _known_rows(out, journal, described)
    journal.parent.mkdir(parents=True, exist_ok=True)
    if not known:
        journal.unlink(missing_ok=True)
    outcomes: dict[str, _Outcome] = {}
    with journal.open("a", encoding="utf-8") as lines:
        lines.write("\n")  # behind a line that a killed run left half written
        for outcome in _measured(study, settings, known):
            outcomes[outcome.scan_id] = outcome
            if outcome.row is not None:
                entry = {"settings": described, "schema": SCHEMA_VERSION, "row": outcome.row}
                lines.write(json.dumps(entry) + "\n")
                lines.flush()
            if progress:
                progress(len(outcomes) / len(study.scans))
    result = _result([outcomes[scan.scan_id] for scan in study.scans], settings)
    if result.table.rows:
        write_table(result.table, out, overwrite=True)
    _write_record(out, described, result)
    journal.unlink(missing_ok=True)
    return result


def _result(outcomes: list[_Outcome], settings: PrecomputeSettings) -> Precomputed:
    rows = tuple(outcome.row for outcome in outcomes if outcome.row is not None)
    table = FeatureTable(rows, settings.described(), settings.features.units() | _UNITS)
    failed = {outcome.scan_id: outcome.reason for outcome in outcomes if outcome.row is None}
    return Precomputed(table, sum(outcome.kept for outcome in outcomes), failed, _warnings(table))


def record_path(out: Path) -> Path:
    """Where the record of a table lies.

    Args:
        out: The table.
    """
    return out.with_suffix(".record.json")


def _write_record(out: Path, described: Mapping[str, Any], result: Precomputed) -> None:
    record = {
        "schema_version": SCHEMA_VERSION,
        "settings": described,
        "n_scans": len(result.table.rows),
        "failed": result.failed,
        "warnings": result.warnings,
        "sha256": sha256_of(out) if result.table.rows else None,
    }
    write_sidecar(record_path(out), record, overwrite=True)


def _known_rows(out: Path, journal: Path, described: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of the finished table and of a run that was stopped."""
    rows: dict[str, dict[str, Any]] = {}
    if out.is_file():
        table = read_table(out)
        if dict(table.settings) != described:
            msg = f"{out} must be made with the same settings, got others; give another -o or --overwrite."
            raise ValueError(msg)
        rows |= {row["scan_id"]: dict(row) for row in table.rows}
    for entry in _whole_lines(journal):
        if entry["settings"] == described and entry["schema"] == SCHEMA_VERSION:
            rows[entry["row"]["scan_id"]] = entry["row"]
    return rows


def _whole_lines(journal: Path) -> Iterator[dict[str, Any]]:
    """Entries of a journal; a killed process may have left its last line half written."""
    if not journal.is_file():
        return
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _measured(
    study: TumourStudy, settings: PrecomputeSettings, known: Mapping[str, Mapping[str, Any]]
) -> Iterator[_Outcome]:
    tasks = [
        _Task(
            scan,
            study.resolve(scan.label),
            tuple(study.resolve(path) for path in scan.images.values()),
            settings,
            known.get(scan.scan_id),
        )
        for scan in study.scans
    ]
    if settings.n_workers == 1 or len(tasks) == 1:
        yield from map(_attempt, tasks)
        return
    # A forked child would inherit locks of torch's threads.
    with ProcessPoolExecutor(settings.n_workers, multiprocessing.get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(_attempt, task) for task in tasks]):
                yield future.result()
        except BrokenProcessPool as error:
            msg = "workers must stay alive, got one that was killed; run again with fewer --workers."
            raise OSError(msg) from error


def _attempt(task: _Task) -> _Outcome:
    try:
        return _outcome(task)
    except (ValueError, OSError) as error:
        return _Outcome(task.scan.scan_id, reason=one_line(error))


def _outcome(task: _Task) -> _Outcome:
    if not task.label.is_file():
        msg = f"{task.label} must be an existing label map, got nothing there; correct the study."
        raise FileNotFoundError(msg)
    about = {
        "scan_id": task.scan.scan_id,
        "patient_id": task.scan.patient_id,
        "time_years": task.scan.time_years,
        "licence": task.scan.licence,
        "label": str(task.scan.label),
        "sha256": sha256_of(task.label),
        "images_sha256": ",".join(sha256_of(path) for path in task.images),
    }
    known = task.known
    if known is not None and all(known[name] == about[name] for name in ("sha256", "images_sha256")):
        return _Outcome(task.scan.scan_id, {**known, **about}, kept=True)
    return _Outcome(task.scan.scan_id, {**about, **_measure(task)})


def _measure(task: _Task) -> dict[str, Any]:
    label = read_volume(task.label, allow_constant=True)
    record = extract_tumour_features(
        label.data,
        affine=label.grid.affine,
        brain=_brain(label, task.images),
        settings=task.settings.features,
    )
    grid = task.settings.grid
    resampled_mm3 = float("nan") if grid is None else resampled_volume_mm3(label.data, label.grid, grid)
    return {**row_of(record), RESAMPLED: resampled_mm3}


def _brain(label: Volume, images: tuple[Path, ...]) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Voxels that any image shows, each image on the label's grid."""
    brain = None
    for path in images:
        image = read_volume(path)
        spacing_mm = max(label.grid.spacing_mm)
        if offset_voxels(label.grid, image.grid) * spacing_mm > _ALIGNED_MM:
            msg = f"{path} must lie on the grid of {label.path}, got another; register and resample it first."
            raise ValueError(msg)
        brain = image.data != 0 if brain is None else brain | (image.data != 0)
    return brain


def _warnings(table: FeatureTable) -> dict[str, str]:
    texts = {}
    for row in table.rows:
        change = row[RESAMPLED] / row["wt.volume_mm3"] - 1 if "wt.volume_mm3" in row else float("nan")
        words = [flag for flag in row["flags"] if flag != "multi_component"]
        if abs(change) > _WARN_CHANGE:
            words.append(f"volume changes by {change:+.0%} on the network's grid")
        if words:
            texts[row["scan_id"]] = ", ".join(words)
    return texts
