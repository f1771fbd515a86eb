"""One row per encoded visit: predicted and measured features, distance to the training data, its record.

Visits of a study with label maps make a table that `revoxel semivae growth` reads as it is.
"""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import atomic_path
from revoxel.semivae.encoding.outputs import RECORD_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

TABLE = "latents.csv"
VOLUME = "wt.log_volume"
_MM3_PER_ML = 1000.0


def write_table(out: Path) -> Path | None:
    """Write one row per record in a folder and the folders in it; an older table is replaced.

    Args:
        out: Folder of the results.

    Returns:
        The table; None if there is no record.

    Raises:
        ValueError: If a record is damaged.
        OSError: If the table cannot be written.
    """
    records = [*out.glob(f"*{RECORD_SUFFIX}"), *out.glob(f"[!.]*/*{RECORD_SUFFIX}")]
    rows = [_row_at(path) | {"latent": path.relative_to(out).as_posix()} for path in records]
    rows.sort(key=lambda row: str(row["scan"]))
    if not rows:
        return None
    with atomic_path(out / TABLE, overwrite=True) as temporary:
        temporary.write_text(_csv(rows), encoding="utf-8")
    return out / TABLE


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The line of one visit; what is not known is empty.

    Args:
        record: Content of its JSON.
    """
    measured = (record["measured"] or {"values": {}})["values"]
    features = {
        f"{kind}.{name}": one[key]
        for name, one in record["predictions"].items()
        for kind, key in (("predicted", "value"), ("predicted_sd", "sd"), ("measured", "measured"))
    }
    return {
        "scan": record["scan"],
        "patient_id": record["patient_id"],
        "time_years": record["time_years"],
        "volume_mm3": measured.get("wt.volume_mm3"),
        "pulses": _pulses(record),
        **features,
        "distance": record["coverage"] and record["coverage"]["distance"],
        "n_warnings": len(record["warnings"]),
    }


def _row_at(path: Path) -> dict[str, Any]:
    record = read_sidecar(path)
    try:
        return row_of(record)
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"{path} must be a record of revoxel semivae encode, got one without {error}; remove it."
        raise ValueError(msg) from error


def visit_row(record: Mapping[str, Any]) -> dict[str, float | str]:
    """A visit at a glance, for the console.

    Args:
        record: Content of its JSON.
    """
    volume = record["predictions"].get(VOLUME, {"value": None, "measured": None})
    return {
        "pulses": "all" if all(record["available"].values()) else _pulses(record),
        "predicted, ml": _millilitres(volume["value"]),
        "measured, ml": _millilitres(volume["measured"]),
        "distance": record["coverage"]["distance"] if record["coverage"] else "-",
        "warnings": str(len(record["warnings"])),
    }


def feature_rows(record: Mapping[str, Any]) -> dict[str, dict[str, float | str]]:
    """Every feature of a visit, for the console.

    Args:
        record: Content of its JSON.
    """
    return {
        name: {
            "predicted": one["value"],
            "sd of the posterior": one["sd"],
            "measured": "-" if one["measured"] is None else one["measured"],
            "unit": one["unit"],
        }
        for name, one in record["predictions"].items()
    }


def _pulses(record: Mapping[str, Any]) -> str:
    return " ".join(pulse for pulse, there in record["available"].items() if there)


def _millilitres(log_mm3: float | None) -> float | str:
    return "-" if log_mm3 is None else math.exp(log_mm3) / _MM3_PER_ML


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = list(rows)
    names = dict.fromkeys(name for row in lines for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
