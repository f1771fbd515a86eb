"""The report of a perfusion scan: one page with picture, numbers and warnings that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.asl.quantification.outputs import AslPaths
from revoxel.core.html_page import content_policy, data_uri, render_page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEADINGS = {
    "n_voxels": "voxels",
    "median_cbf_ml_100g_min": "CBF, ml/100g/min",
    "median_cbf_sd_ml_100g_min": "CBF sd",
    "median_att_ms": "ATT, ms",
    "median_att_sd_ms": "ATT sd",
    "share_at_bounds": "at bounds",
}


def write_page(paths: AslPaths, record: Mapping[str, Any]) -> Path:
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
        "revoxel.asl.quantification",
        "asl.html.jinja",
        title=f"Perfusion of {paths.stem}",
        policy=content_policy(),
        picture=data_uri(paths.picture.read_bytes(), "image/png"),
        warnings=record["warnings"],
        regions=number_rows(record),
        channels=_channel_rows(record),
        agreement=agreement_rows(record),
        facts=facts_of(record),
    )
    paths.page.write_text(html, encoding="utf-8")
    return paths.page


def number_rows(record: Mapping[str, Any]) -> dict[str, Any]:
    """Medians by region, as a table for people.

    Args:
        record: Content of the JSON.
    """
    regions = record["regions"]
    names = list(next(iter(regions.values()), {}))
    rows = [[name, *(_cell(column, row[column]) for column in names)] for name, row in regions.items()]
    ratio = record["gm_wm_ratio"]
    note = "Medians over voxels." + (f" CBF of GM over WM: {ratio:.2f}." if ratio else "")
    return {
        "title": "Regions",
        "columns": ["", *(_HEADINGS[name] for name in names)],
        "rows": rows,
        "note": note,
    }


def agreement_rows(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """How a network's maps agree with those of the fit; None where the fit made the maps.

    Args:
        record: Content of the JSON.
    """
    found = record["agreement_with_fit"]
    names = {"cbf_ml_100g_min": "CBF, ml/100g/min", "att_ms": "ATT, ms"}
    rows = [
        [
            names[name],
            f"{one['mean_difference']:+.1f}",
            f"{one['limits_low']:+.1f} to {one['limits_high']:+.1f}",
            f"{one['pearson']:.3f}",
            f"{one['icc']:.3f}",
        ]
        for name, one in found.items()
    ]
    columns = ["", "network - fit", "95 % limits", "Pearson", "ICC(A,1)"]
    if not rows:
        return None
    note = "Agreement, not accuracy: nobody knows the truth."
    return {"title": "Agreement with the fit", "columns": columns, "rows": rows, "note": note}


def _cell(column: str, value: float) -> str:
    if column == "share_at_bounds":
        return f"{100 * value:.1f} %"
    return f"{value:.0f}" if column == "n_voxels" or "att" in column else f"{value:.1f}"


def _channel_rows(record: Mapping[str, Any]) -> dict[str, Any]:
    sigma = record["noise"]["sigma_over_m0"]
    noise = (
        ["unknown"] * len(record["channels"]) if sigma is None else [f"{1e4 * value:.2f}" for value in sigma]
    )
    rows = [list(row) for row in zip(record["channels"], map(str, record["repeats"]), noise, strict=True)]
    return {
        "title": "Channels",
        "columns": ["", "repeats", "noise, 1e-4 M0"],
        "rows": rows,
        "note": f"Noise from: {record['noise']['source']}.",
    }


def facts_of(record: Mapping[str, Any]) -> dict[str, str]:
    """How the maps were made, in a few lines.

    Args:
        record: Content of the JSON.
    """
    facts = {"method": record["method"], "T1 of blood": f"{record['physics']['t1_blood_ms']:g} ms"}
    facts |= {f"efficiency of {kind}": text for kind, text in _efficiencies(record).items()}
    facts["M0"] = "; ".join(map(_m0_words, record["m0"]))
    facts["mask"] = f"{record['mask']['source']}, {record['mask']['n_voxels']} voxels"
    moved = [distance for distances in record["motion_mm"].values() for distance in distances]
    if moved:
        facts["motion"] = f"mean {sum(moved) / len(moved):.2f} mm, largest {max(moved):.2f} mm, corrected"
    return facts


def _efficiencies(record: Mapping[str, Any]) -> dict[str, str]:
    physics, protocol = record["physics"], record["protocol"]
    parts = {
        "PCASL": ("pcasl_plds_ms", "pcasl"),
        "PASL": ("pasl_tis_ms", "pcasl"),
        "VSASL": ("vsasl_plds_ms", "vsasl"),
    }
    found = {}
    for kind, (delays, pulses) in parts.items():
        if protocol[delays]:
            n_pulses = physics[f"n_bs_{pulses}"]
            lost = f", {physics['alpha_bs']:g} for each of {n_pulses} suppression pulses" if n_pulses else ""
            found[kind] = f"{physics[f'alpha_{kind.lower()}']:g}{lost}"
    return found


def _m0_words(m0: Mapping[str, Any]) -> str:
    recovered = (
        "repetition time unknown" if m0["tr_ms"] is None else f"{100 * m0['recovery']:.1f} % recovered"
    )
    return f"{m0['source']}, {recovered}" + (f", {m0['n_floored']} voxels too low" if m0["n_floored"] else "")
