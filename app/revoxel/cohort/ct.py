"""The CT scans of a folder or a study as work: one piece per scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.cohort.engine import Job
from revoxel.cohort.planned import planned, work_aside
from revoxel.cohort.workload import Piece, Workload
from revoxel.core.volumes import volume_stem
from revoxel.ct.refinement.planning import RefinePlan, RefineSettings, plan_refinement
from revoxel.ct.refinement.run import refine
from revoxel.ct.scans.sources import find_scans
from revoxel.ct.scans.study import STUDY_FILE, load_study

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class CtCohort:
    """What is done with every scan, and how.

    Args:
        source: Folder of coarse CTs (files, DICOM folders), or a study whose coarse volumes are refined.
        out: Root of the results.
        settings: How to refine; a study gives its own truths.
        threads: Processor threads of a task; None leaves a worker's own number.
    """

    source: Path
    out: Path
    settings: RefineSettings
    threads: int | None = None


def ct_work(cohort: CtCohort, progress: Callable[[float], None] = lambda _: None) -> Workload:
    """Find the scans, check them, and see which are done.

    Args:
        cohort: What to do.
        progress: Called with the share of the scans that were checked.

    Returns:
        Work for `run_workload`; a scan that cannot be used is in it with its reason.

    Raises:
        FileNotFoundError: If there is nothing at the source.
        ValueError: If it holds no scan, or names repeat.
    """
    whole = replace(cohort, source=cohort.source.absolute(), out=cohort.out.absolute())
    scans = _scans(whole.source)
    pieces = []
    for name, (scan, truth) in scans.items():
        pieces.append(_piece(name, scan, replace(whole, settings=replace(whole.settings, truth=truth))))
        progress(len(pieces) / len(scans))
    return Workload(
        title=f"ct: {cohort.source}",
        out=whole.out,
        pieces=tuple(pieces),
        facts={"source": str(whole.source), "verb": "ct", "layout": "plain"},
    )


def refine_in_worker(plan: RefinePlan, cohort: CtCohort) -> None:
    """Worker: refine one scan in a folder of its own, then move the files.

    Args:
        plan: Of the scan.
        cohort: What to do with it.

    Raises:
        ValueError: If the scan cannot be used.
        OSError: If a file cannot be read or written; older results are still there then.
    """
    work_aside(plan, cohort.out, cohort.threads, lambda aside: refine(aside, cohort.settings))


def _scans(source: Path) -> dict[str, tuple[Path, Path | None]]:
    """Coarse volume and truth by name."""
    if source.name == STUDY_FILE or (source / STUDY_FILE).is_file():
        study = load_study(source)
        return {row.name: (study.resolve(row.coarse), study.resolve(row.fine)) for row in study.rows}
    paths = find_scans([source])
    names = [volume_stem(path) for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"scans must have names of their own, got {', '.join(twice)} more than once; rename the files."
        raise ValueError(msg)
    return {name: (path, None) for name, path in zip(names, paths, strict=True)}


def _piece(name: str, scan: Path, cohort: CtCohort) -> Piece:
    piece = Piece(job=Job(name, refine_in_worker), labels={"scan": name}, folder=name)
    settings = replace(cohort.settings, overwrite=True)
    return planned(
        piece,
        lambda: plan_refinement(scan, cohort.out / name, settings),
        cohort,
        overwrite=cohort.settings.overwrite,
    )
