"""The HTML page of an evaluation: one file, readable without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revoxel.core.html_page import content_policy, data_uri, render_page
from revoxel.experts.names import Expert
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.comparison.rows import FusionRow
from revoxel.sagnef.comparison.summary import CLAIMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from revoxel.sagnef.comparison.tables import PlainTable

#: What every row means, for people.
ROW_MEANINGS: dict[str, str] = {
    ", ".join(Expert): "one expert alone",
    Baseline.MEAN: "average of the experts",
    Baseline.MEDIAN: "median of the experts per voxel",
    Baseline.BEST: "the expert with the least squared error on the fold's training patients",
    Baseline.SIMPLEX: "one convex weight per expert for all volumes, least squares on the training patients",
    FusionRow.TILES: "the same per tile of the head (6 x 8 x 6 tiles of its box, interpolated)",
    FusionRow.CAUTIOUS: "global weights fitted on training rows whose experts were told too wide a profile",
    FusionRow.CAUTIOUS_CONSISTENT: "the same, pulled onto the measured slices",
    FusionRow.BEST_CONSISTENT: "control: data consistency without any fusion",
    FusionRow.CONTROL: "control: the given gate on fewer experts",
    FusionRow.STRICT: "the gate's convex weights alone, its residual left out",
    FusionRow.RESIDUAL: "the gate with its bounded residual",
    FusionRow.CONSISTENT: "the gate's result, pulled onto the slices with the profile of the manifest",
    FusionRow.SUPERRESOLVE: "what the shipped command does: profile estimated from the scan, both votes, "
    "cautious weights or gate, fall-back, consistency",
    Baseline.ORACLE_VOLUME: "sees the truth: the expert that is best on this volume",
    Baseline.ORACLE_CUBE: "sees the truth: per voxel the expert that is best in a cube of 9 voxels",
    Baseline.ORACLE_VOXEL: "sees the truth: the value between lowest and highest expert nearest to it "
    "(mostly luck of signs)",
}


def page(
    title: str,
    facts: Mapping[str, str],
    tables: Iterable[PlainTable],
    picture: bytes,
    problems: Iterable[str],
) -> str:
    """Compose the page.

    Args:
        title: Heading.
        facts: What the numbers were made from.
        tables: All tables, in order.
        picture: The figure as PNG; empty for none.
        problems: What went wrong, one sentence each.

    Returns:
        HTML.
    """
    return render_page(
        "revoxel.sagnef.comparison",
        "evaluation.html.jinja",
        policy=content_policy(),
        title=title,
        problems=list(problems),
        picture=data_uri(picture, "image/png") if picture else "",
        tables=list(tables),
        row_kind=row_kind,
        meanings=ROW_MEANINGS,
        facts=facts,
    )


def row_kind(cells: Sequence[str]) -> str:
    """How a row is set apart: `claimed` for what the method stands for, `oracle` for what sees the truth.

    Args:
        cells: Of a table of methods; the first names the row.
    """
    if cells[0].startswith("oracle"):
        return "oracle"
    return "claimed" if cells[0].rpartition(": ")[2] in CLAIMED else ""
