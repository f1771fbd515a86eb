"""Detail networks on disk: what stands in a checkpoint, and reading one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import METADATA, WEIGHTS
from revoxel.core.checkpoints import fill_network, load_checkpoint
from revoxel.core.training import checkpoint_of
from revoxel.ct.detail.lifting import XrayScene
from revoxel.ct.detail.network import DetailRefiner3D, build_refiner

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM = "ct"


def refiner_protocol(
    arguments: Mapping[str, Any], scene: XrayScene, base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Say what weights are for, as it stands in every checkpoint.

    Args:
        arguments: Of `DetailRefiner3D`.
        scene: Voxel size, X-ray geometry and HU window.
        base: What made the coarse volumes of the training.
    """
    return {
        "system": SYSTEM,
        "model": DetailRefiner3D.__name__,
        "arguments": dict(arguments),
        "scene": scene.as_dict(),
        "training": {"base": dict(base or {})},
    }


def inference_protocol(arguments: Mapping[str, Any], scene: XrayScene) -> dict[str, Any]:
    """What of `refiner_protocol` a bundle's inference asks for: everything but the training.

    Args:
        arguments: Of `DetailRefiner3D`.
        scene: Voxel size, X-ray geometry and HU window.
    """
    wanted = refiner_protocol(arguments, scene)
    return {name: value for name, value in wanted.items() if name != "training"}


@dataclass(frozen=True, eq=False)
class Refiner:
    """A trained network and what it is for.

    Attributes:
        network: Weights loaded, in evaluation mode, on the CPU.
        path: Its checkpoint.
        scene: Voxel size, X-ray geometry and HU window that it was trained with.
        record: All that its checkpoint says about it.
    """

    network: DetailRefiner3D
    path: Path
    scene: XrayScene
    record: dict[str, Any]


def load_refiner(path: Path | str) -> Refiner:
    """Load a network; class, switches and scene come from the checkpoint.

    Args:
        path: Checkpoint, folder of a run for its best one, or a bundle.

    Returns:
        Network and record.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint is damaged, of another class, or its weights do not fit what it says.
    """
    path = Path(path)
    source = path / WEIGHTS if (path / METADATA).is_file() else checkpoint_of(path)
    checkpoint = load_checkpoint(source, {"system": SYSTEM, "model": DetailRefiner3D.__name__})
    scene = XrayScene.from_mapping(checkpoint.protocol.get("scene", {}))
    network = build_refiner(checkpoint.protocol.get("arguments", {}), scene)
    fill_network(network, checkpoint)
    return Refiner(network.eval(), source, scene, checkpoint.protocol)
