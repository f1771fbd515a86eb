"""The frozen base that a configuration names."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from revoxel.core.one_line import one_line_errors
from revoxel.ct.detail.bases import BackprojectionBase, OracleBase, Scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.ct.detail.bases import FrozenBase
    from revoxel.ct.detail.lifting import XrayScene


class BaseKind(StrEnum):
    """Bases that a detail network can be trained on."""

    ORACLE = "oracle"
    BACKPROJECTION = "backprojection"
    TWO_VIEW = "two-view"


def chosen_base(choice: Mapping[str, Any], scene: XrayScene, size: int) -> FrozenBase:
    """Build the base that a configuration names.

    Args:
        choice: `kind`, `blur_voxels`, `error_hu`, `checkpoint`, `sha256`.
        scene: Voxel size, X-ray geometry and HU window.
        size: Side of a volume in voxels.

    Raises:
        SystemExit: With one line, if it is unknown, or its checkpoint is missing or another than stated.
    """
    with one_line_errors():
        return _base(choice, scene, Scene((size, size, size), scene.spacing_mm, scene.geometry))


def _base(choice: Mapping[str, Any], scene: XrayScene, around: Scene) -> FrozenBase:
    kind = choice["kind"]
    if kind not in set(BaseKind):
        msg = f"base.kind must be one of {', '.join(BaseKind)}, got {kind!r}; correct the configuration."
        raise ValueError(msg)
    if kind == BaseKind.ORACLE:
        return OracleBase(scene.window, blur_voxels=choice["blur_voxels"], error_hu=choice["error_hu"])
    if kind == BaseKind.BACKPROJECTION:
        return BackprojectionBase(around, scene.window)
    return _trained(choice, around)


def _trained(choice: Mapping[str, Any], around: Scene) -> FrozenBase:
    from revoxel.ct.detail.two_view_base import load_two_view_base

    if choice["checkpoint"] is None:
        msg = "base.checkpoint must be given for a two-view base, got none; train one, or use the oracle."
        raise ValueError(msg)
    base = load_two_view_base(choice["checkpoint"], around)
    wanted = choice["sha256"]
    if wanted is not None and base.weights_sha256 != wanted:
        msg = (
            f"{choice['checkpoint']} must have the weights of SHA-256 {wanted}, got {base.weights_sha256}; "
            "give the base that was meant, or correct base.sha256."
        )
        raise ValueError(msg)
    return base
