"""Paths as a manifest writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revoxel.core.paths import absolute

if TYPE_CHECKING:
    from pathlib import Path


def below(path: Path, root: Path) -> Path:
    """The path relative to a folder where it lies in it, else absolute.

    Args:
        path: Any path.
        root: Absolute path of the folder.
    """
    whole = absolute(path)
    return whole.relative_to(root) if whole.is_relative_to(root) else whole
