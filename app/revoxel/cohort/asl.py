"""The ASL scans of a BIDS dataset as work: one piece per subject, session and run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.asl.quantification.group import GROUP_PAGE, GROUP_TABLE, GroupMember, write_group
from revoxel.asl.quantification.planning import QuantifySettings, ScanPlan, find_groups, plan_scan
from revoxel.asl.quantification.quantify import quantify_scan
from revoxel.asl.scans.bids import ScanGroup
from revoxel.cohort.derivatives import Derivatives, describe_derivatives
from revoxel.cohort.engine import Job
from revoxel.cohort.ledger import Ledger, State
from revoxel.cohort.planned import planned, work_aside
from revoxel.cohort.workload import Piece, Workload
from revoxel.core.paths import absolute, dataset_root, entities
from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Callable

_HASHING_THREADS = 4
_README = f"""# Revoxel derivatives: perfusion

`_cbf` and `_att` are maps of cerebral blood flow (ml/100g/min) and arterial transit time (ms), `_desc-sd_`
their standard deviations, `_desc-fit_` those of the voxel-wise fit, `_desc-bound_mask` where the fit ended
at a bound. `_asl.json` is the record of a scan, `_asl.html` its report. `{GROUP_TABLE}` and `{GROUP_PAGE}`
sum up all scans; `cohort.json` lists what was run, `failures.csv` what failed and why.

{RESEARCH_USE.capitalize()}.
"""
# BIDS has no names for maps of perfusion yet.
_IGNORED = (
    "*_cbf.*",
    "*_att.*",
    "*_abv.*",
    "*_abat.*",
    "*_desc-bound_mask.*",
    "*_asl.*",
    GROUP_TABLE,
    GROUP_PAGE,
)
_DERIVATIVES = Derivatives("Revoxel: maps of CBF and ATT", _README, _IGNORED)


@dataclass(frozen=True, kw_only=True)
class AslCohort:
    """What is done with every scan, and how.

    Args:
        bids: Dataset, or one subject's folder.
        out: Root of the results.
        settings: How to quantify; results that differ from them are made again, with `overwrite` all are.
        threads: Processor threads of a task; None leaves a worker's own number.
    """

    bids: Path
    out: Path
    settings: QuantifySettings
    threads: int | None = None


def asl_work(cohort: AslCohort, progress: Callable[[float], None] = lambda _: None) -> Workload:
    """Find the scans of a dataset, check them, and see which are done.

    Args:
        cohort: What to do.
        progress: Called with the share of the scans that were checked.

    Returns:
        Work for `run_workload`; a scan that cannot be used is in it with its reason.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no ASL scan.
    """
    whole = replace(cohort, bids=absolute(cohort.bids), out=absolute(cohort.out))
    groups = find_groups([whole.bids], whole.settings.stated)
    pieces = []
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for piece in pool.map(lambda group: _piece(group, whole), groups):
            pieces.append(piece)
            progress(len(pieces) / len(groups))
    scan = next(iter(groups[0].files.values()))
    return Workload(
        title=f"asl: {cohort.bids}",
        out=whole.out,
        pieces=tuple(pieces),
        facts={"source": str(whole.bids), "verb": "asl", "layout": "bids"},
        begin=lambda: describe_derivatives(whole.out, dataset_root(scan), _DERIVATIVES),
        finish=lambda ledger: _sum_up(whole.out, ledger),
    )


def _piece(group: ScanGroup, cohort: AslCohort) -> Piece:
    labels = _labels(group.stem)
    folder = Path(*labels.values(), "perf")
    job = Job(group.stem, quantify_in_worker)
    piece = Piece(job=job, labels={**labels, "scan": group.stem}, folder=folder.as_posix())
    settings = replace(cohort.settings, overwrite=True)
    return planned(
        piece,
        lambda: plan_scan(group, cohort.out / folder, settings),
        cohort,
        overwrite=cohort.settings.overwrite,
    )


def _labels(stem: str) -> dict[str, str]:
    """Subject and session as their folders are called; empty where the name has none."""
    names = entities(stem)
    keys = {"subject": "sub", "session": "ses"}
    return {word: f"{key}-{names[key]}" if key in names else "" for word, key in keys.items()}


def quantify_in_worker(plan: ScanPlan, cohort: AslCohort) -> None:
    """Worker: quantify one scan in a folder of its own, then move the files.

    Args:
        plan: Of the scan.
        cohort: What to do with it.

    Raises:
        ValueError: If the images cannot be used.
        OSError: If a file cannot be read or written; older results are still there then.
    """
    work_aside(plan, cohort.out, cohort.threads, lambda aside: quantify_scan(aside, cohort.settings))


def _sum_up(out: Path, ledger: Ledger) -> None:
    """The table and the page of all scans that have results."""
    members = [
        GroupMember(
            name,
            _labels(name),
            Path(entry.record).with_suffix(".html").as_posix(),
            read_sidecar(out / entry.record),
        )
        for name, entry in ledger.entries.items()
        if entry.state is State.DONE and entry.record
    ]
    write_group(out, members, {name: entry.reason for name, entry in ledger.failed().items()})
