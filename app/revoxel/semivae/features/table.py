"""One row of features per scan, kept with the hash of its label map and the settings it was made with."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import atomic_path
from revoxel.semivae.features.record import SCHEMA_VERSION, FeatureRecord, Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

RESAMPLED = "wt.volume_resampled_mm3"
PARQUET, JSON = ".parquet", ".json"
_KEY = b"revoxel"
_PRESENT = "present."


@dataclass(frozen=True)
class FeatureTable:
    """Features of many scans, all of one schema and one set of settings.

    Attributes:
        rows: `scan_id`, `patient_id`, `time_years`, `licence`, `label`, `sha256`, `images_sha256`, `flags`,
            `present.<region>`, values.
        settings: How they were measured, as plain JSON.
        units: Unit by feature.
        schema_version: Of the definitions.
    """

    rows: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    units: Mapping[str, str]
    schema_version: str = SCHEMA_VERSION

    def values(self, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Feature values of some rows.

        Args:
            names: Features, in order.
            rows: Of this table.

        Returns:
            `(row, feature)`, NaN where not defined.

        Raises:
            ValueError: If a feature is unknown.
        """
        unknown = [name for name in names if name not in self.units]
        if unknown:
            msg = f"features must be among {', '.join(self.units)}, got {unknown}; correct the names."
            raise ValueError(msg)
        return np.array([[row[name] for name in names] for row in rows], dtype=np.float64).reshape(
            -1, len(names)
        )

    def row(self, scan_id: str) -> Mapping[str, Any]:
        """Row of one scan.

        Raises:
            ValueError: If there is none.
        """
        for row in self.rows:
            if row["scan_id"] == scan_id:
                return row
        msg = f"scan_id must be in the table, got {scan_id!r}; run revoxel semivae features on its study."
        raise ValueError(msg)

    def record(self, scan_id: str) -> FeatureRecord:
        """Record of one scan, flagged as coming from a table.

        Raises:
            ValueError: If there is none.
        """
        row = self.row(scan_id)
        return FeatureRecord(
            values={name: row[name] for name in self.units},
            present={key.removeprefix(_PRESENT): row[key] for key in row if key.startswith(_PRESENT)},
            flags=frozenset({Flag(flag) for flag in row["flags"]} | {Flag.FROM_TABLE}),
            units=dict(self.units),
            schema_version=self.schema_version,
        )


def row_of(record: FeatureRecord) -> dict[str, Any]:
    """The record's part of a row.

    Args:
        record: Of one scan.
    """
    present = {f"{_PRESENT}{region}": there for region, there in record.present.items()}
    return {"flags": sorted(record.flags), **present, **record.values}


def check_table_path(path: Path) -> None:
    """Refuse a table that could not be written, before anything is measured.

    Args:
        path: Of the table.

    Raises:
        ValueError: If it is neither Parquet nor JSON, or Parquet cannot be written here.
    """
    if path.suffix not in {PARQUET, JSON}:
        msg = f"table must end in {PARQUET} or {JSON}, got {path.name}; use -o table.parquet."
        raise ValueError(msg)
    if path.suffix == PARQUET:
        _pyarrow(path)


def write_table(table: FeatureTable, path: Path, *, overwrite: bool = False) -> Path:
    """Write a table, whole or not at all.

    Args:
        table: Of at least one row.
        path: `.parquet`, or `.json` where pyarrow is not installed.
        overwrite: Replace a file that exists.

    Returns:
        `path`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        ValueError: If it is neither Parquet nor JSON.
        OSError: If it cannot be written.
    """
    check_table_path(path)
    head = {
        "schema_version": table.schema_version,
        "settings": dict(table.settings),
        "units": dict(table.units),
    }
    with atomic_path(path, overwrite=overwrite) as temporary:
        if path.suffix == JSON:
            rows = [{name: _or_none(value) for name, value in row.items()} for row in table.rows]
            temporary.write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        else:
            arrow = _pyarrow(path)
            columns = arrow.Table.from_pylist([dict(row) for row in table.rows])
            columns = columns.replace_schema_metadata({_KEY: json.dumps(head).encode()})
            arrow.parquet.write_table(columns, temporary)
    return path


def read_table(path: Path) -> FeatureTable:
    """Read a table back.

    Args:
        path: Of `write_table`.

    Returns:
        The table.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no feature table, or of another schema.
    """
    check_table_path(path)
    if not path.is_file():
        msg = f"{path} must be an existing feature table, got nothing there; run revoxel semivae features."
        raise FileNotFoundError(msg)
    head, rows = _read_json(path) if path.suffix == JSON else _read_parquet(path)
    if head["schema_version"] != SCHEMA_VERSION:
        msg = (
            f"{path} must be of feature schema {SCHEMA_VERSION}, got {head['schema_version']!r}; schemas are "
            "never mixed: make the table anew with --overwrite."
        )
        raise ValueError(msg)
    rows = [{name: _number(name, value, head["units"]) for name, value in row.items()} for row in rows]
    return FeatureTable(tuple(rows), head["settings"], head["units"], head["schema_version"])


def _read_json(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    record = read_sidecar(path)
    if not {"schema_version", "settings", "units", "rows"} <= set(record):
        raise ValueError(_no_table(path))
    return record, record["rows"]


def _read_parquet(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    arrow = _pyarrow(path)
    try:
        columns = arrow.parquet.read_table(path)
        head = json.loads(columns.schema.metadata[_KEY])
    except (arrow.ArrowException, OSError, KeyError, TypeError) as error:
        raise ValueError(_no_table(path)) from error
    return head, columns.to_pylist()


def _no_table(path: Path) -> str:
    return f"{path} must be a table of revoxel semivae features, got another file; make it with that verb."


def _number(name: str, value: Any, units: Mapping[str, str]) -> Any:
    return math.nan if value is None and name in units else value


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        msg = f"{path} must be .json without pyarrow; pip install 'revoxel[growth]' for Parquet."
        raise ValueError(msg) from error
    return pyarrow
