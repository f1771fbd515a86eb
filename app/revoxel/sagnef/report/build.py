"""Make the report: look at every run once, keep viewers for the worst, write one file."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from revoxel.core.reasons import one_line
from revoxel.core.volumes import atomic_path
from revoxel.sagnef.report.evaluation import read_evaluation
from revoxel.sagnef.report.page import Contents, compose_page
from revoxel.sagnef.report.runs import find_runs
from revoxel.sagnef.report.section import render_section, see

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from markupsafe import Markup

    from revoxel.sagnef.report.runs import RunFolder
    from revoxel.sagnef.report.section import Seen
    from revoxel.sagnef.report.summaries import Summary
    from revoxel.sagnef.report.viewer import Viewer

MAX_VIEWERS = 20


@dataclass(frozen=True)
class ReportRequest:
    """Which report.

    Args:
        root: Folder of results.
        out: The page.
        manifest: Names the truths; by default the manifest of the cohort.
        max_viewers: How many runs, worst first, get an interactive viewer.
        overwrite: Whether an existing page may be replaced.
    """

    root: Path
    out: Path
    manifest: Path | None = None
    max_viewers: int = MAX_VIEWERS
    overwrite: bool = False


@dataclass(frozen=True)
class Report:
    """What was written.

    Args:
        path: The page.
        n_runs: Runs shown.
        failures: What could not be shown, and why.
    """

    path: Path
    n_runs: int
    failures: dict[str, str]


def write_report(request: ReportRequest, progress: Callable[[str, float], None] | None = None) -> Report:
    """Make the page.

    Args:
        request: Which.
        progress: Called with the name of a stage and its share done.

    Returns:
        Where it is, and what is not in it.

    Raises:
        FileNotFoundError: If the folder or the manifest is absent.
        ValueError: If there is nothing to report on.
        FileExistsError: If the page exists and `overwrite` is off.
        OSError: If it cannot be written; nothing is left behind.
    """
    with atomic_path(request.out, overwrite=request.overwrite) as temporary:
        found = find_runs(request.root, request.manifest)
        contents = _look(found, request.max_viewers, progress or (lambda _stage, _share: None))
        temporary.write_text(compose_page(contents), encoding="utf-8")
    return Report(request.out, len(contents.summaries), dict(contents.failures))


@dataclass
class _Gallery:
    """What was seen so far; viewers of the worst runs alone, because they are large."""

    max_viewers: int
    summaries: list[Summary] = field(default_factory=list)
    bodies: dict[str, Markup] = field(default_factory=dict)
    viewers: dict[str, Viewer] = field(default_factory=dict)
    _worst: list[tuple[tuple[int, float], str]] = field(default_factory=list)

    def add(self, seen: Seen) -> None:
        summary = seen.summary
        self.bodies[summary.anchor] = render_section(seen)
        self.summaries.append(summary)
        heapq.heappush(self._worst, (summary.badness, summary.anchor))
        dropped = heapq.heappop(self._worst)[1] if len(self._worst) > self.max_viewers else None
        if dropped != summary.anchor:
            self.viewers.pop(dropped or "", None)
            self.viewers[summary.anchor] = seen.viewer()


def _look(found: RunFolder, max_viewers: int, progress: Callable[[str, float], None]) -> Contents:
    gallery, failures = _Gallery(max_viewers), dict(found.failures)
    for place, run in enumerate(found.runs):
        progress("runs", place / len(found.runs))
        try:
            gallery.add(see(run, f"run-{place + 1}"))
        except (ValueError, OSError) as error:
            failures[run.name] = one_line(error)
    progress("runs", 1.0)
    evaluation = None
    if found.evaluation:
        try:
            evaluation = read_evaluation(found.evaluation)
            failures |= evaluation.failures
        except (ValueError, OSError) as error:
            failures["evaluation"] = one_line(error)
    return Contents(
        title=f"SAGNEF report: {found.root.resolve().name}",
        summaries=tuple(gallery.summaries),
        bodies=gallery.bodies,
        viewers=gallery.viewers,
        failures=failures,
        evaluation=evaluation,
    )
