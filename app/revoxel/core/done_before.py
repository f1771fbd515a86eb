"""Whether results that exist are those that are asked for: a record is compared with a request.

A record of results holds `request` (plain values; its `sha256` has a checksum by role of input), `n_bytes`
(size by file name) and the package version that `provenance` writes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from revoxel import __version__
from revoxel.core.provenance import read_sidecar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def why_not_done(record: Path, existing: Sequence[Path], request: Mapping[str, Any]) -> str:
    """Compare a request with the record of what was made before.

    Args:
        record: File that vouches for the results beside it.
        existing: Results that exist, the record included.
        request: What is asked for now, from `as_plain`.

    Returns:
        Why it has to be made, such as `input changed: scan`; empty if these very results are there.
    """
    if not existing:
        return "new"
    if not record.is_file():
        return "its record is missing"
    try:
        told = read_sidecar(record)
        known, n_bytes, version = told["request"], told["n_bytes"], told["revoxel"]
        before, now = known["sha256"], request["sha256"]
        inputs = [role for role in {**before, **now} if before.get(role) != now.get(role)]
        choices = [name for name in request if name != "sha256" and known.get(name) != request[name]]
        lost = [name for name, size in n_bytes.items() if size_of(record.parent / name) != size]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its record is damaged"
    reasons = {
        f"input changed: {', '.join(inputs)}": inputs,
        f"settings changed: {', '.join(choices)}": choices,
        f"was made by version {version}": version != __version__,
        f"missing or changed: {', '.join(lost)}": lost,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def refuse_other_results(record: Path, existing: Sequence[Path], why: str, *, overwrite: bool) -> None:
    """Keep what exists and is not what is asked for.

    Args:
        record: File that vouches for the results.
        existing: Results that exist.
        why: From `why_not_done`.
        overwrite: Whether they may be replaced.

    Raises:
        FileExistsError: If there are other results that may not be replaced.
    """
    if why and existing and not overwrite:
        msg = (
            f"{existing[0]} exists already and is not what is asked for ({why}; see {record.name}); pass "
            "--overwrite to replace it, or choose another folder."
        )
        raise FileExistsError(msg)


def size_of(path: Path) -> int | None:
    """Size of a result in bytes; of a folder that of its files together; None where there is nothing.

    Args:
        path: File or folder.
    """
    if path.is_dir():
        return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
    return path.stat().st_size if path.is_file() else None


def as_plain(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request as JSON gives it back, so that it can be compared with a record.

    Args:
        request: Values that JSON knows, or whose text says what they are.
    """
    plain: dict[str, Any] = json.loads(json.dumps(request, default=str))
    return plain
