"""Where files lie: paths without links resolved, BIDS datasets, and what a BIDS name says."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+]+)")


def absolute(path: Path) -> Path:
    """The path from the root of the file system; links stay as they are.

    A scan may be a link into a store where it has another name and no sidecar beside it, as in DataLad.

    Args:
        path: Any path.
    """
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would replace links by their targets


def dataset_root(path: Path) -> Path | None:
    """Root of the BIDS dataset that a file lies in.

    Args:
        path: The file.

    Returns:
        The nearest folder above with a `dataset_description.json`, absolute; None if there is none.
    """
    folders = absolute(path).parents
    return next((folder for folder in folders if (folder / "dataset_description.json").is_file()), None)


def entities(stem: str) -> dict[str, str]:
    """Keys and labels of a BIDS name, in their order.

    Args:
        stem: File name without its ending, such as `sub-01_ses-02_T1w`.
    """
    found = (_ENTITY.fullmatch(word) for word in stem.split("_"))
    return {match[1]: match[2] for match in found if match}
