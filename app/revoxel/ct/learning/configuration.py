"""Configurations of the CT networks: the shipped ones, the sources', and what they set in a bundle."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from revoxel.core.bundles import bundle_sources, configs_root
from revoxel.core.configuration import CONFIGURATION, read_mapping
from revoxel.core.training import Sections, overlaid

if TYPE_CHECKING:
    from pathlib import Path


class CtModel(StrEnum):
    """Networks that `revoxel ct train` trains."""

    UPSAMPLER = "upsampler"
    DETAIL = "detail"
    TWO_VIEW = "two-view"

    @property
    def bundle(self) -> str:
        """Name of its bundle."""
        return _BUNDLES[self]


_BUNDLES = {
    CtModel.UPSAMPLER: "ct_upsampler_64_256",
    CtModel.DETAIL: "ct_detail_64",
    CtModel.TWO_VIEW: "ct_two_view_32",
}


def source_folder(bundle: str) -> Path:
    """Folder that a bundle is generated from.

    Args:
        bundle: name of the bundle.

    Raises:
        ValueError: If no sources describe it.
    """
    sources = {source.name: source.system for source in bundle_sources(configs_root())}
    if bundle not in sources:
        msg = f"bundle must be one of {', '.join(sorted(sources))}, got {bundle!r}; choose one."
        raise ValueError(msg)
    return sources[bundle]


def default_sections(bundle: str) -> Sections:
    """The shipped configuration of a bundle.

    Args:
        bundle: name of the bundle.
    """
    return read_mapping(source_folder(bundle) / CONFIGURATION)


def read_sections(path: Path, bundle: str) -> Sections:
    """Read a configuration; what it leaves out is as in the shipped one.

    Args:
        path: YAML file with sections of keys.
        bundle: name of the bundle.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no mapping.
    """
    return overlaid(default_sections(bundle), read_mapping(path))
