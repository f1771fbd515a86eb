"""Paths as a manifest writes them."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(path: Path) -> Path:
    """The path from the root of the file system; links stay as they are.

    Args:
        path: Any path.
    """
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would replace links by their targets


def below(path: Path, root: Path) -> Path:
    """The path relative to a folder where it lies in it, else absolute.

    Args:
        path: Any path.
        root: Absolute path of the folder.
    """
    whole = absolute(path)
    return whole.relative_to(root) if whole.is_relative_to(root) else whole
