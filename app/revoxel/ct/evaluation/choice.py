"""Which table an evaluation fills: baselines alone, an upsampler's, or a detail network's behind its base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import METADATA, WEIGHTS, bundle_folder
from revoxel.core.checkpoints import load_checkpoint
from revoxel.core.training import checkpoint_of
from revoxel.ct.evaluation.upsampling import UpsamplingTable

if TYPE_CHECKING:
    from revoxel.ct.detail.bases import FrozenBase
    from revoxel.ct.detail.models import Refiner
    from revoxel.ct.evaluation.run import Table
    from revoxel.ct.scans.study import CtStudy

ORACLE, BACKPROJECTION = "oracle", "backprojection"
UPSAMPLER, DETAIL = "ResidualUpsampler3D", "DetailRefiner3D"


def weights_of(source: str) -> Path:
    """File of a network.

    Args:
        source: Checkpoint, folder of a run for its best one, folder or name of a bundle.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(source)
    if not path.exists() and len(path.parts) == 1 and not path.suffix:
        path = bundle_folder(source)
    return path / WEIGHTS if (path / METADATA).is_file() else checkpoint_of(path)


def chosen_table(
    study: CtStudy, weights: Path | None, base: str, device: str
) -> tuple[Table, dict[str, Any]]:
    """Table for the weights that are given.

    Args:
        study: Whose scans are evaluated.
        weights: File of a network; None for baselines alone.
        base: `oracle`, `backprojection` or the checkpoint of a two-view base; upsamplers have none.
        device: Where networks compute.

    Returns:
        The table, and the network's protocol.

    Raises:
        ValueError: If the weights are of another network, or do not fit the base.
        FileNotFoundError: If a checkpoint is missing.
    """
    if weights is None:
        return UpsamplingTable(), {}
    protocol = load_checkpoint(weights).protocol
    kind = protocol.get("model")
    if kind == UPSAMPLER:
        from revoxel.ct.refinement.methods import upsampling

        return UpsamplingTable(upsampling(weights, device)[0]), protocol
    if kind == DETAIL:
        return _detail_table(study, weights, base, device), protocol
    msg = f"{weights} must hold weights of {UPSAMPLER} or {DETAIL}, got {kind}; give another checkpoint."
    raise ValueError(msg)


def _detail_table(study: CtStudy, weights: Path, base: str, device: str) -> Table:
    from revoxel.core.compute import resolve_device
    from revoxel.ct.detail.models import load_refiner
    from revoxel.ct.evaluation.detailing import DetailTable

    refiner = load_refiner(weights)
    refiner.network.to(resolve_device(device))
    size = refiner.scene.geometry.size
    return DetailTable(study, refiner, _base(base, refiner, size), size)


def _base(base: str, refiner: Refiner, size: int) -> FrozenBase:
    from revoxel.ct.detail.bases import BackprojectionBase, OracleBase, Scene
    from revoxel.ct.detail.two_view_base import load_two_view_base

    scene = Scene((size, size, size), refiner.scene.spacing_mm, refiner.scene.geometry)
    if base == ORACLE:
        return OracleBase(refiner.scene.window)
    if base == BACKPROJECTION:
        return BackprojectionBase(scene, refiner.scene.window)
    return load_two_view_base(base, scene)
