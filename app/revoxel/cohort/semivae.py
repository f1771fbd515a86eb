"""The visits of a study or folder as work: one piece per visit, encoded by one network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from revoxel.cohort.engine import Job
from revoxel.cohort.planned import planned, work_aside
from revoxel.cohort.workload import Piece, Workload
from revoxel.core.paths import absolute
from revoxel.semivae.encoding.planning import EncodePlan, EncodeSettings, plan_encoding
from revoxel.semivae.encoding.run import encode
from revoxel.semivae.encoding.table import write_table
from revoxel.semivae.encoding.visits import Visit, find_visits
from revoxel.semivae.network.models import load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SemivaeCohort:
    """What is done with every visit, and how.

    Args:
        source: Study file, or a folder of visits.
        out: Root of the results.
        settings: How to encode.
        device: Where a worker's network runs.
        threads: Processor threads of a task; None leaves a worker's own number.
    """

    source: Path
    out: Path
    settings: EncodeSettings
    device: str = "auto"
    threads: int | None = None


def semivae_work(cohort: SemivaeCohort, progress: Callable[[float], None] = lambda _: None) -> Workload:
    """Find the visits, check them, and see which are done.

    Args:
        cohort: What to do.
        progress: Called with the share of the visits that were checked.

    Returns:
        Work for `run_workload`; a visit that cannot be used is in it with its reason.

    Raises:
        FileNotFoundError: If there is nothing at the source.
        ValueError: If it holds no visit, or names repeat.
    """
    whole = replace(cohort, source=absolute(cohort.source), out=absolute(cohort.out))
    visits = find_visits([whole.source])
    pieces = []
    for visit in visits:
        pieces.append(_piece(visit, whole))
        progress(len(pieces) / len(visits))
    return Workload(
        title=f"semivae: {cohort.source}",
        out=whole.out,
        pieces=tuple(pieces),
        facts={"source": str(whole.source), "verb": "semivae", "layout": "plain"},
        finish=lambda _ledger: _sum_up(whole.out),
    )


def encode_in_worker(plan: EncodePlan, cohort: SemivaeCohort) -> None:
    """Worker: encode one visit in a folder of its own, then move the files.

    Args:
        plan: Of the visit.
        cohort: What to do with it.

    Raises:
        ValueError: If the visit cannot be used.
        OSError: If a file cannot be read or written; older results are still there then.
    """
    model = load_model(cohort.settings.weights, cohort.device)
    work_aside(plan, cohort.out, cohort.threads, lambda aside: encode(aside, model))


def _piece(visit: Visit, cohort: SemivaeCohort) -> Piece:
    labels = {"patient": visit.patient_id or "", "scan": visit.name}
    piece = Piece(job=Job(visit.name, encode_in_worker), labels=labels, folder=visit.name)
    settings = replace(cohort.settings, overwrite=True)
    return planned(
        piece,
        lambda: plan_encoding(visit, cohort.out / visit.name, settings),
        cohort,
        overwrite=cohort.settings.overwrite,
    )


def _sum_up(out: Path) -> None:
    """The table of all visits that have results."""
    write_table(out)
