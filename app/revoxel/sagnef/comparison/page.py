"""The HTML page of an evaluation: one file, readable without a network."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from revoxel.core.volumes import RESEARCH_USE
from revoxel.experts.names import Expert
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.comparison.rows import FusionRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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

# Columns of sentences are set flush left.
_LONG = 60
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; color: #111 }
table { border-collapse: collapse; margin: .4rem 0; font-size: 13px }
th, td { padding: .18rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left; white-space: nowrap }
table.text td, table.text th { text-align: left; vertical-align: top }
tr.claimed { background: #fdf3d8 } tr.oracle { background: #eee; color: #555 }
h2 { margin: 2rem 0 .2rem; font-size: 1.15rem } p.note { color: #555; font-size: 13px; margin: .2rem 0 }
img { max-width: 100% } .scroll { overflow-x: auto } .warning { color: #a40000 }
"""


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
    parts = [f"<h1>{escape(title)}</h1>", f"<p class=note>{RESEARCH_USE}</p>"]
    parts += [f"<p class=warning>{escape(problem)}</p>" for problem in problems]
    if picture:
        encoded = base64.b64encode(picture).decode("ascii")
        parts.append(f'<img alt="gain over the best expert" src="data:image/png;base64,{encoded}">')
    parts += map(_table, tables)
    parts += ["<h2>Rows</h2>", _pairs(ROW_MEANINGS), "<h2>Made from</h2>", _pairs(facts)]
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(table: PlainTable) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(_row(cells) for cells in table.rows)
    kind = " class=text" if max((len(cells[-1]) for cells in table.rows), default=0) > _LONG else ""
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    body = f"<div class=scroll><table{kind}><tr>{head}</tr>{rows}</table></div>"
    return f"<h2>{escape(table.title)}</h2>{note}{body}"


def _row(cells: tuple[str, ...]) -> str:
    name = cells[0].rpartition(": ")[2] if not cells[0].startswith("oracle") else "oracle"
    kind = "oracle" if name == "oracle" else "claimed" if name in _CLAIMED else ""
    marked = f" class={kind}" if kind else ""
    return f"<tr{marked}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _pairs(pairs: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in pairs.items())
    return f"<table class=text>{rows}</table>"


_CLAIMED = {FusionRow.STRICT, FusionRow.RESIDUAL, FusionRow.CONSISTENT, FusionRow.SUPERRESOLVE}
