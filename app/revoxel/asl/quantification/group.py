"""Many scans at a glance: one line each, as a table for programs and a page for people."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from revoxel.core.html_page import content_policy, render_page
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

GROUP_TABLE, GROUP_PAGE = "perfusion.csv", "perfusion.html"
_REGIONS = ("GM", "WM", "brain")
_COLUMNS = ("n_voxels", "median_cbf_ml_100g_min", "median_att_ms", "share_at_bounds")
_HEADINGS = (
    "CBF GM",
    "CBF WM",
    "CBF brain",
    "GM/WM",
    "ATT GM",
    "ATT WM",
    "ATT brain",
    "at bounds",
    "warnings",
)


@dataclass(frozen=True)
class GroupMember:
    """One scan that was quantified.

    Args:
        name: Of the scan.
        labels: What it is about, such as `{"subject": "sub-01"}`; the same keys for all members.
        page: Its report, relative to the folder of the group's.
        record: Content of its JSON.
    """

    name: str
    labels: Mapping[str, str]
    page: str
    record: Mapping[str, Any]

    def row(self) -> dict[str, Any]:
        """The line of `perfusion.csv`: medians by region with their units, empty where nothing is known."""
        regions = self.record["regions"]
        numbers = {
            f"{region}_{column}": regions.get(region, {}).get(column, "")
            for region in _REGIONS
            for column in _COLUMNS
        }
        warnings = self.record["warnings"]
        return {
            "scan": self.name,
            **self.labels,
            "method": self.record["method"],
            **numbers,
            "gm_wm_ratio": _or_empty(self.record["gm_wm_ratio"]),
            "n_warnings": len(warnings),
            "warnings": " | ".join(warnings),
        }


def write_group(folder: Path, members: Sequence[GroupMember], failures: Mapping[str, str]) -> None:
    """Write `perfusion.csv` and `perfusion.html`; what was there is replaced.

    Args:
        folder: Where they go.
        members: Scans with results; without any the table is not written.
        failures: Reasons by name of the scans without results, for the page.

    Raises:
        OSError: If a file cannot be written.
    """
    if members:
        with atomic_path(folder / GROUP_TABLE, overwrite=True) as temporary:
            temporary.write_text(_table([member.row() for member in members]), encoding="utf-8")
    with atomic_path(folder / GROUP_PAGE, overwrite=True) as temporary:
        temporary.write_text(_page(members, failures), encoding="utf-8")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _page(members: Sequence[GroupMember], failures: Mapping[str, str]) -> str:
    medians = {
        "title": "Scans",
        "columns": ["", *_HEADINGS],
        "rows": [_cells(member) for member in members],
        "note": "Medians over voxels; CBF in ml/100g/min, ATT in ms. A name leads to its scan's report.",
    }
    doubted = [[member.name, text] for member in members for text in member.record["warnings"]]
    tables = [
        {"title": "To be careful about", "columns": ["scan", "warning"], "rows": doubted, "note": ""},
        {
            "title": "Without results",
            "columns": ["scan", "reason"],
            "rows": [list(item) for item in failures.items()],
            "note": "",
        },
    ]
    return render_page(
        "revoxel.asl.quantification",
        "group.html.jinja",
        title=f"Perfusion of {len(members)} scans",
        policy=content_policy(),
        tables=[medians, *(table for table in tables if table["rows"])],
    )


def _cells(member: GroupMember) -> list[str | Markup]:
    row = member.row()
    cbf = [_number(row[f"{region}_median_cbf_ml_100g_min"], 1) for region in _REGIONS]
    att = [_number(row[f"{region}_median_att_ms"], 0) for region in _REGIONS]
    link = Markup('<a href="{}">{}</a>').format(member.page, member.name)
    bounds = f"{100 * row['brain_share_at_bounds']:.1f} %"
    return [link, *cbf, _number(row["gm_wm_ratio"], 2), *att, bounds, str(row["n_warnings"])]


def _number(value: float | str, digits: int) -> str:
    return "-" if value == "" else f"{value:.{digits}f}"


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value
