"""What makes a folder of results a BIDS derivative: its description, a README, and what validators skip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from revoxel import __version__
from revoxel.core.paths import absolute
from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

_BIDS_VERSION = "1.9.0"
#: The account of a run; BIDS has no names for such files.
_ACCOUNT = ("cohort.json", "failures.csv", ".cohort/")


@dataclass(frozen=True)
class Derivatives:
    """What a verb says of its results.

    Args:
        name: Title of the dataset.
        readme: Text of `README.md`.
        ignored: Names that BIDS has no place for, the account of the run aside.
    """

    name: str
    readme: str
    ignored: tuple[str, ...] = ()


def describe_derivatives(out: Path, raw: Path | None, derivatives: Derivatives) -> None:
    """Write what makes a folder a BIDS derivative, where it is not there: description, .bidsignore, README.

    Args:
        out: Root of the derivatives.
        raw: Root of the dataset that they were made from.
        derivatives: What to say of them.

    Raises:
        ValueError: If the folder is a dataset of another kind.
        OSError: If a file cannot be written.
    """
    known = out / "dataset_description.json"
    if known.is_file() and read_sidecar(known).get("DatasetType") != "derivative":
        msg = f"{out} must not be a raw BIDS dataset; give a folder such as derivatives/revoxel (-o)."
        raise ValueError(msg)
    link = {} if raw is None else {"DatasetLinks": {"raw": _relative_uri(raw, out)}}
    description = {
        "Name": derivatives.name,
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Revoxel", "Version": __version__}],
        **link,
    }
    texts = {
        known.name: json.dumps(description, indent=2) + "\n",
        ".bidsignore": "\n".join((*derivatives.ignored, *_ACCOUNT)) + "\n",
        "README.md": derivatives.readme,
    }
    for name in (name for name in texts if not (out / name).exists()):
        with atomic_path(out / name) as temporary:
            temporary.write_text(texts[name], encoding="utf-8")


def _relative_uri(raw: Path, out: Path) -> str:
    whole = absolute(out)
    if not whole.is_relative_to(raw):
        return raw.as_uri()
    return "/".join([".."] * len(whole.relative_to(raw).parts))
