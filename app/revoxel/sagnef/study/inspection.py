"""Read every volume of a study once: is it whole, where does it lie, is it what its role asks for?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.geometry import Grid, slice_axis
from revoxel.core.manifest import ProfileRecord
from revoxel.core.provenance import read_sidecar, sha256_of
from revoxel.core.reasons import reason_of
from revoxel.core.volumes import Volume, read_volume, volume_sidecar
from revoxel.experts.axis_check import axis_check
from revoxel.experts.estimate_profile import estimate_profile
from revoxel.experts.profiles import SliceProfile
from revoxel.sagnef.profile_trust import judge_profile, profile_widths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Three = tuple[float, float, float]


class Role(StrEnum):
    """What a volume is in a study."""

    HR = "hr"
    LR = "lr"
    EXPERT = "expert"


@dataclass(frozen=True)
class Inspection:
    """What to read, and as what.

    Args:
        path: The file.
        role: What it must be.
        profile: Stated slice profile of a scan; `None` takes what its sidecar says, or an estimate.
        trust_sidecar: Whether the record of a simulation counts.
    """

    path: Path
    role: Role
    profile: SliceProfile | None = None
    trust_sidecar: bool = True


@dataclass(frozen=True, eq=False)
class VolumeFacts:
    """What one file holds.

    Args:
        path: The file.
        role: What it was read as.
        problem: Why it cannot be used; empty if it can.
        sha256: Fingerprint of the file.
        grid: Where it lies; `None` if it could not be read.
        notes: What a user should know.
        log_ratio: Of a truth, fine detail per axis against the other two (see `revoxel.experts.axis_check`).
        axis: Of a scan, its slice axis.
        profile: Of a scan, its slice profile.
        record: Of an expert's volume, the JSON record beside it.
    """

    path: Path
    role: Role
    problem: str = ""
    sha256: str = ""
    grid: Grid | None = None
    notes: tuple[str, ...] = ()
    log_ratio: Three | None = None
    axis: int | None = None
    profile: ProfileRecord | None = None
    record: dict[str, Any] = field(default_factory=dict)


def inspect_all(
    tasks: Sequence[Inspection], n_workers: int = 1, progress: Callable[[float], None] | None = None
) -> dict[Path, VolumeFacts]:
    """Inspect many files; a damaged one is reported in its facts.

    Args:
        tasks: What to read.
        n_workers: Files that are read at a time.
        progress: Called with the share done.

    Returns:
        Facts by file.
    """
    found: dict[Path, VolumeFacts] = {}
    # Threads: unpacking, hashing and filtering run without the interpreter's lock.
    with ThreadPoolExecutor(n_workers) as pool:
        for facts in pool.map(inspect, tasks):
            found[facts.path] = facts
            if progress:
                progress(len(found) / len(tasks))
    return found


def inspect(task: Inspection) -> VolumeFacts:
    """Read one file.

    Args:
        task: What to read.

    Returns:
        What it holds, or why it cannot be used.
    """
    try:
        volume = read_volume(task.path)
        facts = _FACTS[task.role](task, volume)
        return VolumeFacts(task.path, task.role, sha256=sha256_of(task.path), grid=volume.grid, **facts)
    except (ValueError, OSError, MemoryError) as error:
        return VolumeFacts(task.path, task.role, problem=reason_of(error))


def _truth_facts(_task: Inspection, volume: Volume) -> dict[str, Any]:
    return {"log_ratio": axis_check(volume).log_ratio}


def _scan_facts(task: Inspection, volume: Volume) -> dict[str, Any]:
    axis = slice_axis(volume.grid)
    return {"axis": axis, "profile": _profile(task, volume, axis), "notes": volume.notes}


def _expert_facts(task: Inspection, _volume: Volume) -> dict[str, Any]:
    return {"record": _record_beside(task.path)}


_FACTS = {Role.HR: _truth_facts, Role.LR: _scan_facts, Role.EXPERT: _expert_facts}


def _profile(task: Inspection, volume: Volume, axis: int) -> ProfileRecord:
    """Stated, else recorded by the simulation that made the scan, else estimated as at test time."""
    if task.profile is not None:
        return ProfileRecord(label=task.profile.label, std_mm=task.profile.std_mm)
    record = _record_beside(task.path) if task.trust_sidecar else {}
    if record.get("simulated") is True:
        return ProfileRecord(label=str(record["profile"]), std_mm=record["profile_std_mm"])
    estimate = estimate_profile(volume, axis)
    separation_mm = volume.grid.spacing_mm[axis]
    trust = judge_profile(None, estimate)
    widths = profile_widths(estimate, estimate.profile, separation_mm, trust)
    return ProfileRecord(
        label=estimate.profile.label,
        std_mm=round(widths.estimated * separation_mm, 6),
        assumed_std_mm=round(estimate.profile.std_mm, 6),
        confidence=round(trust.confidence, 4),
    )


def _record_beside(path: Path) -> dict[str, Any]:
    sidecar = volume_sidecar(path)
    return read_sidecar(sidecar) if sidecar.is_file() else {}
