"""What made a file: JSON sidecars with inputs, parameters, versions and time."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from revoxel import __version__
from revoxel.core.volumes import RESEARCH_USE, atomic_path

_PACKAGES = ("torch", "monai", "numpy", "scipy", "nibabel", "itk")


def sha256_of(path: Path | str) -> str:
    """Fingerprint an input.

    Args:
        path: File, or a folder whose files are taken together in the order of their names.

    Returns:
        SHA-256 in hexadecimal digits.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
    """
    path = Path(path)
    if path.is_dir():
        parts = [f"{item.name}:{sha256_of(item)}" for item in sorted(path.iterdir()) if item.is_file()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sidecar(path: Path | str, record: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """Write a record as JSON, whole or not at all, with versions and time added.

    Args:
        path: JSON file beside the output that it describes.
        record: What was done; paths, enums, dataclasses and numpy values become plain, NaN becomes null.
        overwrite: Replace a file that exists.

    Returns:
        `path`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is false.
        OSError: If it cannot be written; nothing is left behind.
    """
    path = Path(path)
    house = {
        "revoxel": __version__,
        "versions": _versions(),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "notice": RESEARCH_USE,
    }
    text = json.dumps({**_plain(record), **house}, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def read_sidecar(path: Path | str) -> dict[str, Any]:
    """Read a record back.

    Args:
        path: JSON file.

    Returns:
        The record.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If it is not a whole JSON object.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} must be a whole JSON record, got '{error}'; remove it and run the step again."
        raise ValueError(msg) from error
    if not isinstance(record, dict):
        msg = f"{path} must be a JSON object, got {type(record).__name__}; remove it and run the step again."
        raise ValueError(msg)  # noqa: TRY004 - the file is at fault, not an argument's type
    return record


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _plain(value: Any) -> Any:
    """Reduce a value to what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
