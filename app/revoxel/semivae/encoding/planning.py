"""Before a visit is encoded: its files, whether they are there, and what was made before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from revoxel.core.done_before import as_plain, refuse_other_results, why_not_done
from revoxel.core.provenance import sha256_of
from revoxel.semivae.encoding.outputs import LatentPaths
from revoxel.semivae.encoding.visits import check_file

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.semivae.encoding.visits import Visit


@dataclass(frozen=True)
class EncodeSettings:
    """How to encode.

    Args:
        weights: Checkpoint of the network.
        overwrite: Replace results that exist.
    """

    weights: Path
    overwrite: bool = False


@dataclass(frozen=True)
class EncodePlan:
    """An encoding that can begin.

    Args:
        visit: What is encoded.
        inputs: Every file that will be read, by role.
        paths: Where results go.
        request: What is asked for, as it is compared with an earlier record.
        why: Why it has to be made; empty if these very results exist already.
    """

    visit: Visit
    inputs: dict[str, Path]
    paths: LatentPaths
    request: dict[str, Any]
    why: str


def plan_encoding(visit: Visit, out: Path, settings: EncodeSettings) -> EncodePlan:
    """Check everything that can be known before images are read.

    Args:
        visit: What to encode.
        out: Output folder.
        settings: How.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If a file is missing.
        FileExistsError: If other results exist, and `settings` do not allow to replace them.
        ValueError: If the visit has no image.
    """
    inputs = visit.checked_images()
    if visit.label is not None:
        check_file(visit.label, f"label of {visit.name}")
        inputs["label"] = visit.label
    paths = LatentPaths(out, visit.name)
    read = {**inputs, "network": settings.weights}
    request = as_plain(
        {
            "patient_id": visit.patient_id,
            "time_years": visit.time_years,
            "sha256": {role: sha256_of(path) for role, path in read.items()},
        }
    )
    existing = paths.existing()
    why = why_not_done(paths.record, existing, request)
    refuse_other_results(paths.record, existing, why, overwrite=settings.overwrite)
    return EncodePlan(visit, inputs, paths, request, why)
