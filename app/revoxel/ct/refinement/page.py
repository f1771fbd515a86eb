"""The report of a refinement: one page with picture, numbers and warnings that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.core.html_page import content_policy, data_uri, render_page
from revoxel.ct.evaluation.tables import score_row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from revoxel.ct.refinement.outputs import CtPaths


def write_page(paths: CtPaths, record: Mapping[str, Any]) -> Path:
    """Write the page beside a picture that was written already.

    Args:
        paths: Where the picture lies and the page goes.
        record: Content of the JSON.

    Returns:
        The page.

    Raises:
        OSError: If it cannot be written.
    """
    html = render_page(
        "revoxel.ct.refinement",
        "ct.html.jinja",
        title=f"Refined CT of {paths.stem}",
        policy=content_policy(),
        picture=data_uri(paths.picture.read_bytes(), "image/png"),
        warnings=record["warnings"],
        scores=_scores(record),
        facts=facts_of(record),
    )
    paths.page.write_text(html, encoding="utf-8")
    return paths.page


def facts_of(record: Mapping[str, Any]) -> dict[str, str]:
    """How the volume was made and what was checked, in a few lines.

    Args:
        record: Content of the JSON.
    """
    detail, consistency = record["added_detail"], record["consistency"]
    facts = {
        "method": record["method"],
        "voxels": f"{_size(record['coarse'])} to {_size(record['refined'])}",
        "consistency": f"block means differ from the scan by {consistency['mean_hu']:.3f} HU on average, "
        f"{consistency['max_hu']:.3f} HU at most",
        "added detail": f"RMS {detail['rms_hu']:.1f} HU, 99 % below {detail['p99_hu']:.0f} HU",
        "cut to the range": f"{100 * record['clipped_share']:.3g} % of the voxels",
    }
    if "views" in record:
        before, after = (
            record["views"][f"reprojection_{name}"]["relative"] for name in ("coarse", "refined")
        )
        facts["X-rays explained"] = (
            f"relative error {100 * after:.2f} % after, {100 * before:.2f} % before; "
            f"correlation with the scan {record['views']['views_correlation']:.3f}"
        )
    rings = (record.get("truth") or {}).get("ring_correlation")
    if rings:
        facts["true up to"] = (
            f"{rings['cutoff_cycles_per_mm']:.3f} cycles/mm (median of {rings['n_patches']} patches); the "
            f"scan's own limit is {rings['coarse_nyquist_cycles_per_mm']:.3f}"
        )
    return facts


def _size(facts: Mapping[str, Any]) -> str:
    sides = " x ".join(map(str, facts["shape"]))
    return f"{sides} of {' x '.join(f'{step:g}' for step in facts['spacing_mm'])} mm"


def _scores(record: Mapping[str, Any]) -> dict[str, Any] | None:
    truth = record.get("truth")
    if not truth:
        return None
    row = score_row(truth["scores"])
    return {
        "title": "Against the truth",
        "columns": ["", *row],
        "rows": [[record["method"], *row.values()]],
        "note": "Inside the field of view; RMSE, MAE and SSIM in the window -1024..1024 HU.",
    }
