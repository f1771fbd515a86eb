"""Upsamplers by their checkpoint: build one from a configuration, load one, refuse what does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import METADATA, WEIGHTS, bundle_folder
from revoxel.core.checkpoints import fill_network, load_checkpoint
from revoxel.core.training import checkpoint_of
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.upsampler.network import ResidualUpsampler3D

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM = "ct_upsampler"


def build_upsampler(arguments: Mapping[str, Any]) -> ResidualUpsampler3D:
    """Build the network.

    Args:
        arguments: of `ResidualUpsampler3D`.

    Raises:
        ValueError: If it does not take these arguments.
    """
    try:
        return ResidualUpsampler3D(**arguments)
    except TypeError as error:
        msg = (
            f"network must hold arguments of ResidualUpsampler3D, got {dict(arguments)}: {error}; correct it."
        )
        raise ValueError(msg) from error


def upsampler_protocol(
    arguments: Mapping[str, Any],
    window: Mapping[str, float],
    spacing_mm: float,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Say what weights are for, as it stands in every checkpoint.

    Args:
        arguments: of `ResidualUpsampler3D`.
        window: `low_hu` and `high_hu`, what the network sees as 0 and 1.
        spacing_mm: voxel size of the fine volumes that it is trained on.
        training: whom it is trained on; left out where weights are asked for, whoever that was.
    """
    seen = {} if training is None else {"training": dict(training)}
    return {
        "system": SYSTEM,
        "model": ResidualUpsampler3D.__name__,
        "arguments": dict(arguments),
        "window": {name: float(end) for name, end in window.items()},
        "spacing_mm": float(spacing_mm),
        **seen,
    }


@dataclass(frozen=True, eq=False)
class UpsamplerModel:
    """A trained upsampler and what it is for.

    Attributes:
        network: weights loaded, in evaluation mode.
        path: its checkpoint.
        window: what it sees as 0 to 1.
        spacing_mm: voxel size of the fine volumes that it was trained on.
        record: all that its checkpoint says about it.
    """

    network: ResidualUpsampler3D
    path: Path
    window: HounsfieldWindow
    spacing_mm: float
    record: dict[str, Any]

    @property
    def factor(self) -> int:
        """Ratio of the spacings."""
        return self.network.factor


def load_upsampler(source: Path | str) -> UpsamplerModel:
    """Load an upsampler; its switches come from the checkpoint.

    Args:
        source: checkpoint, the run's folder for its best one, a bundle's folder, or a shipped bundle's name.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint is damaged, or of another network.
    """
    wanted = {"system": SYSTEM, "model": ResidualUpsampler3D.__name__}
    checkpoint = load_checkpoint(_file_of(Path(source)), wanted)
    record = checkpoint.protocol
    try:
        window, spacing_mm = HounsfieldWindow(**record["window"]), float(record["spacing_mm"])
        network = build_upsampler(record["arguments"])
    except (KeyError, TypeError) as error:
        msg = (
            f"{checkpoint.path}: protocol must say arguments, window and spacing, got {record}; train again."
        )
        raise ValueError(msg) from error
    fill_network(network, checkpoint)
    return UpsamplerModel(network.eval(), checkpoint.path, window, spacing_mm, record)


def _file_of(source: Path) -> Path:
    if not source.exists() and len(source.parts) == 1 and not source.suffix:
        source = bundle_folder(source.name)
    return source / WEIGHTS if (source / METADATA).is_file() else checkpoint_of(source)
