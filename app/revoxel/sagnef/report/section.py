"""The part of the page about one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from revoxel.core.html_page import render_page
from revoxel.core.report import OKABE_ITO
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.comparison.tables import PlainTable
from revoxel.sagnef.report.display import Plane, view_of
from revoxel.sagnef.report.material import read_material
from revoxel.sagnef.report.pictures import Window, encode, slice_columns, weight_columns, window_of
from revoxel.sagnef.report.scores import FUSED, RunScores, disagreement, score_run
from revoxel.sagnef.report.summaries import ABSENT, Summary
from revoxel.sagnef.report.viewer import Viewer, slice_viewer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from revoxel.sagnef.report.display import View
    from revoxel.sagnef.report.material import Material
    from revoxel.sagnef.report.records import FusionRecord
    from revoxel.sagnef.report.runs import Run

PACKAGE = "revoxel.sagnef.report"
_THUMBNAIL_QUALITY = 80


@dataclass(frozen=True)
class Usage:
    """How the gate used one expert.

    Args:
        name: The expert.
        number: Its colour and hatch.
        mean_weight: Over the whole volume.
        dominant_share: Share of the voxels, where the experts differ, that it rules.
    """

    name: str
    number: int
    mean_weight: float
    dominant_share: float


@dataclass(frozen=True, eq=False)
class Seen:
    """One run, read and scored.

    Args:
        summary: Its line on the first page.
        material: Its volumes.
        view: What is shown of them.
        window: Black and white.
        notes: What is missing.
    """

    summary: Summary
    material: Material
    view: View
    window: Window
    notes: tuple[str, ...]

    def viewer(self) -> Viewer:
        """The interactive viewer."""
        return slice_viewer(self.summary.run.name, self.material, self.view, self.window)


def see(run: Run, anchor: str) -> Seen:
    """Read and score one run.

    Args:
        run: Which.
        anchor: Of its section.

    Returns:
        What the page needs.

    Raises:
        FileNotFoundError: If the fused volume is absent.
        ValueError: If it cannot be read or shows nothing.
    """
    material = read_material(run)
    view = view_of(material)
    window = window_of(material, view)
    scores, notes = _scored(material, run.record)
    thumbnail = encode(window.grey(view.slice(material.fused, Plane.AXIAL)), _THUMBNAIL_QUALITY)
    n_warnings = len(run.record.warnings) + len(notes)
    summary = Summary(run, anchor, thumbnail, scores, disagreement(material), n_warnings)
    return Seen(summary, material, view, window, notes)


def _scored(material: Material, record: FusionRecord) -> tuple[RunScores | None, tuple[str, ...]]:
    try:
        return score_run(material, record), material.notes
    except ValueError as error:
        return None, (*material.notes, f"no metrics: {error}")


def render_section(seen: Seen) -> Markup:
    """Pictures, tables and facts of one run.

    Args:
        seen: The run.

    Returns:
        HTML, safe to be put into the page.
    """
    record, scores = seen.summary.run.record, seen.summary.scores
    html = render_page(
        PACKAGE,
        "section.html.jinja",
        anchor=seen.summary.anchor,
        warnings=[*record.warnings, *seen.notes],
        planes=list(Plane),
        slices=slice_columns(seen.material, seen.view, seen.window),
        weights=weight_columns(seen.material, seen.view, seen.window),
        has_weights=bool(seen.material.weights),
        error_percent=round(100 * seen.window.error / (seen.window.high - seen.window.low)),
        usage=_usage(record),
        colours=OKABE_ITO,
        scores=_score_table(scores) if scores else None,
        row_kind=row_kind,
        has_truth=seen.summary.run.truth is not None,
        facts=_facts(seen),
    )
    return Markup(html)  # noqa: S704 - the template escapes what it was given


def _usage(record: FusionRecord) -> list[Usage]:
    return [
        Usage(name, number, record.mean_weight.get(name, 0.0), record.dominant_share.get(name, 0.0))
        for number, name in enumerate(record.experts)
    ]


def _score_table(scores: RunScores) -> PlainTable:
    columns = ("method", "PSNR dB", "SSIM", "RMSE %", "fused over it, dB")
    rows = tuple(
        (
            _title(name, scores),
            f"{row.psnr_db:.2f}",
            f"{row.ssim:.4f}",
            f"{100 * row.rmse / row.data_range:.2f}",
            ABSENT if name == FUSED else f"{scores.gain_db(name):+.2f}",
        )
        for name, row in scores.rows.items()
    )
    note = (
        f"Brain: {scores.region}. One volume: no interval; those over all patients stand on the first page."
    )
    return PlainTable("Against the truth", columns, rows, note)


def _title(name: str, scores: RunScores) -> str:
    return f"oracle: best expert of this volume ({scores.best})" if name == Baseline.ORACLE_VOLUME else name


def row_kind(cells: Sequence[str]) -> str:
    """How a row is set apart: what the method stands for, and what sees the truth.

    Args:
        cells: Of a table of methods; the first names the row.
    """
    return "claimed" if cells[0] == FUSED else "oracle" if cells[0].startswith("oracle") else ""


def _facts(seen: Seen) -> dict[str, str]:
    """What was done, with what; file names without their folders."""
    run, record = seen.summary.run, seen.summary.run.record
    facts = {
        "pulse": record.pulse,
        "slices": f"{record.separation_mm:g} mm apart along axis {record.slice_axis}",
        "result": " x ".join(map(str, record.shape))
        + " voxels of "
        + " x ".join(f"{side:.3g}" for side in record.spacing_mm)
        + " mm",
        "fusion": f"{record.fusion} ({record.gate})" if record.gate else record.fusion,
        "slice profile": _profile(record),
        "consistency": "off" if record.consistency_mu is None else f"mu {record.consistency_mu:.3g}",
        "seconds": ", ".join(f"{name} {seconds:g}" for name, seconds in record.seconds.items()) or ABSENT,
        "made": f"{record.time_utc} by revoxel {record.revoxel}",
        "truth": run.truth.name if run.truth else "none: no error, no metrics",
    }
    inputs = {
        f"input {name}": f"{file.path.name}, SHA-256 {file.sha256[:12]}"
        for name, file in record.inputs.items()
    }
    return {**facts, **inputs}


def _profile(record: FusionRecord) -> str:
    profile = record.profile
    if profile is None:
        return "not recorded"
    parts = [f"{profile.label}: FWHM {profile.fwhm_mm:g} mm, {profile.source}"]
    if profile.interval_mm:
        low, high = profile.interval_mm
        parts.append(f"estimated standard deviation {profile.estimated_std_mm} mm ({low:g} to {high:g})")
    if profile.confidence is not None:
        parts.append(f"confidence {profile.confidence:g}")
    return "; ".join(parts)
