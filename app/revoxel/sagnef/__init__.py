"""SAGNEF: spatially-adaptive gated nonlinear ensemble fusion of super-resolution experts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revoxel.sagnef.fusion import fuse
    from revoxel.sagnef.loss import LossConfig, SAGNEFLoss
    from revoxel.sagnef.network import SAGNEF
    from revoxel.sagnef.pipeline import superresolve

__all__ = ["SAGNEF", "LossConfig", "SAGNEFLoss", "fuse", "superresolve"]

# Importing torch costs seconds, so a name is looked up when it is first used.
_MODULES = {
    "SAGNEF": "network",
    "LossConfig": "loss",
    "SAGNEFLoss": "loss",
    "fuse": "fusion",
    "superresolve": "pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use.

    Args:
        name: One of `__all__`.

    Returns:
        The class or function.

    Raises:
        AttributeError: If there is no such name.
    """
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
