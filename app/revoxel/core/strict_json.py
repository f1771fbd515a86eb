"""JSON files that are checked field by field when they are read, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revoxel.core.volumes import atomic_path

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Names of files are made of it.
FileName = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]


class Strict(BaseModel):
    """A record that knows all its keys and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


Record = TypeVar("Record", bound=Strict)


def read_strict(model: type[Record], path: Path, remedy: str) -> Record:
    """Read and check a record.

    Args:
        model: what it must be.
        path: JSON file that exists.
        remedy: what to do if it is wrong.

    Returns:
        The record.

    Raises:
        ValueError: If a field is wrong; the message is one line that names file and first wrong field.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or path.stem
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        msg = f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}{more}; {remedy}."
        raise ValueError(msg) from error


def write_strict(record: Strict, path: Path | str) -> Path:
    """Write a record as JSON.

    Args:
        record: what to write.
        path: target; replaced atomically.

    Returns:
        The target.

    Raises:
        OSError: If it cannot be written; what was there is left as it is.
    """
    text = record.model_dump_json(indent=2, by_alias=True, exclude_none=True)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)
