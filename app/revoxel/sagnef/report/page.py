"""The whole page: first all runs together, then one part per run, worst first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from revoxel import __version__
from revoxel.core.html_page import content_policy, own_text, render_page
from revoxel.experts.names import Expert
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.report.charts import charts_of
from revoxel.sagnef.report.scores import FUSED
from revoxel.sagnef.report.section import PACKAGE, row_kind
from revoxel.sagnef.report.summaries import ABSENT, methods_table, worst_first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from revoxel.sagnef.report.evaluation import EvaluationPart
    from revoxel.sagnef.report.summaries import Summary
    from revoxel.sagnef.report.viewer import Viewer


@dataclass(frozen=True)
class Contents:
    """What the page shows.

    Args:
        title: Its heading.
        summaries: Every run that can be shown.
        bodies: Part about each run, by anchor.
        viewers: Viewers, by anchor.
        failures: What cannot be shown, and why.
        evaluation: Tables of `revoxel evaluate`.
    """

    title: str
    summaries: tuple[Summary, ...]
    bodies: Mapping[str, Markup]
    viewers: Mapping[str, Viewer]
    failures: Mapping[str, str] = field(default_factory=dict)
    evaluation: EvaluationPart | None = None


def compose_page(contents: Contents) -> str:
    """Write the page.

    Args:
        contents: What it shows.

    Returns:
        HTML that needs no other file.
    """
    ordered = worst_first(contents.summaries)
    columns = _known_columns(ordered)
    script = own_text(PACKAGE, "report.js")
    scripts = [script, *(text for viewer in contents.viewers.values() for text in viewer.scripts)]
    return render_page(
        PACKAGE,
        "report.html.jinja",
        title=contents.title,
        policy=content_policy(scripts),
        script=script,
        lead=_lead(contents),
        order=_order(ordered),
        failures=contents.failures,
        summaries=ordered,
        methods=methods_table(contents.summaries) if len(contents.summaries) > 1 else None,
        row_kind=row_kind,
        charts=charts_of(ordered) if len(ordered) > 1 else [],
        columns=["run", *columns],
        lines=[(summary, [_line(summary)[column] for column in columns]) for summary in ordered],
        sections=[(s, contents.bodies[s.anchor], contents.viewers.get(s.anchor)) for s in ordered],
        n_viewers=len(contents.viewers),
        evaluation=contents.evaluation,
    )


def _lead(contents: Contents) -> str:
    n_truths = sum(summary.scores is not None for summary in contents.summaries)
    n_patients = len({summary.run.patient for summary in contents.summaries})
    parts = [f"{len(contents.summaries)} run(s) of {n_patients} patient(s), {n_truths} with a truth"]
    if contents.failures:
        parts.append(f"{len(contents.failures)} not shown")
    return f"{', '.join(parts)}. Made by revoxel {__version__}."


def _order(ordered: list[Summary]) -> str:
    n_scored = sum(summary.worth is not None for summary in ordered)
    by_truth = "PSNR of the fused volume over the expert that is best on that very volume, least first"
    by_experts = "how far the experts lie apart, as share of the range, most first"
    if n_scored == len(ordered):
        return f"Order: {by_truth}."
    if not n_scored:
        return f"Order: {by_experts}; no truth is known."
    return f"Order: with a truth, {by_truth}; then without, {by_experts}."


def _known_columns(summaries: list[Summary]) -> list[str]:
    """Columns in which any run has a value."""
    lines = [_line(summary) for summary in summaries]
    return [name for name in (lines[0] if lines else ()) if any(line[name] != ABSENT for line in lines)]


def _line(summary: Summary) -> dict[str, str]:
    record, fused = summary.run.record, summary.scores.rows[FUSED] if summary.scores else None
    apart = summary.disagreement
    return {
        "slices mm": f"{record.separation_mm:g}",
        "pulse": record.pulse,
        "PSNR dB": _shown(fused.psnr_db if fused else None, ".2f"),
        "SSIM": _shown(fused.ssim if fused else None, ".4f"),
        "over best expert, dB": _shown(summary.worth, "+.2f"),
        "over mean, dB": _shown(summary.gain(Baseline.MEAN), "+.2f"),
        "over B-spline, dB": _shown(summary.gain(Expert.BSPLINE), "+.2f"),
        "experts apart %": _shown(None if apart is None else 100 * apart, ".1f"),
        "warnings": str(summary.n_warnings),
        "fusion": record.fusion,
    }


def _shown(value: float | None, form: str) -> str:
    return ABSENT if value is None else format(value, form)
