"""The trained two-view base: what stands in its checkpoint, its frozen use, and its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import ResizeWithPadOrCrop

from revoxel.core.bundles import METADATA, WEIGHTS
from revoxel.core.checkpoints import fill_network, load_checkpoint
from revoxel.core.one_line import one_line_errors
from revoxel.core.provenance import sha256_of
from revoxel.core.training import checkpoint_of
from revoxel.core.volumes import atomic_path
from revoxel.ct.detail.lifting import XrayScene
from revoxel.ct.detail.two_view_data import read_hu
from revoxel.ct.detail.two_view_network import TwoViewNetwork
from revoxel.ct.evaluation.scores import FIGURE_WINDOW
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.learning.training import ALL, opened_study
from revoxel.ct.xray.agreement import reprojection_error
from revoxel.ct.xray.projector import project_views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from revoxel.ct.detail.bases import Scene

SYSTEM = "ct"


def two_view_protocol(arguments: Mapping[str, Any], scene: XrayScene, size: int) -> dict[str, Any]:
    """Say what weights are for, as it stands in every checkpoint.

    Args:
        arguments: `lift_channels` and `width` of `TwoViewNetwork`.
        scene: Voxel size, X-ray geometry and HU window.
        size: Side of the volumes of the training, in voxels.
    """
    return {
        "system": SYSTEM,
        "model": TwoViewNetwork.__name__,
        "arguments": dict(arguments),
        "scene": scene.as_dict(),
        "size": size,
    }


def build_two_view(arguments: Mapping[str, Any], scene: XrayScene, size: int) -> TwoViewNetwork:
    """Build the network of a configuration.

    Args:
        arguments: `lift_channels` and `width`.
        scene: Voxel size, X-ray geometry and HU window.
        size: Side of a volume in voxels.

    Raises:
        SystemExit: With one line, if the size does not fit.
    """
    with one_line_errors():
        return TwoViewNetwork(scene, size, **arguments)


class TwoViewBase:
    """A trained two-view network that is never trained further.

    Args:
        network: With its weights.
        scene: Voxel size, X-ray geometry and HU window that it was trained with.
        weights_sha256: Fingerprint of its checkpoint.
    """

    def __init__(self, network: TwoViewNetwork, scene: XrayScene, weights_sha256: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.scene, self.window = scene, scene.window
        self.weights_sha256: str | None = weights_sha256

    @torch.no_grad()
    def coarse(self, views: Tensor, truth: Tensor | None = None) -> Tensor:  # noqa: ARG002 - of the protocol
        """Estimate the volume.

        Args:
            views: `(batch, 2, 1, row, column)` in nepers, frontal first.
            truth: Not looked at.

        Returns:
            `(batch, 1, x, y, z)` normalised, at least the value of padding.

        Raises:
            ValueError: If the views are not two of the detector's size.
        """
        floor = self.window.normalise(torch.tensor(PADDING_HU, device=views.device))
        return self.network(views).clamp(min=floor)


def load_two_view_base(path: Path | str, scene: Scene | None = None) -> TwoViewBase:
    """Load a trained base; class, switches, geometry and window come from the checkpoint.

    Args:
        path: Checkpoint, folder of a run for its best one, or a bundle.
        scene: Grid and geometry that it shall be used with; by default those of its training.

    Returns:
        The frozen base.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint is damaged, of another class, or made for another scene.
    """
    path = Path(path)
    source = path / WEIGHTS if (path / METADATA).is_file() else checkpoint_of(path)
    checkpoint = load_checkpoint(source, {"system": SYSTEM, "model": TwoViewNetwork.__name__})
    protocol = checkpoint.protocol
    trained, size = XrayScene.from_mapping(protocol.get("scene", {})), int(protocol.get("size", 32))
    if scene is not None:
        _check_same(source, trained, scene)
        size = scene.shape[0]
    network = TwoViewNetwork(trained, size, **protocol.get("arguments", {}))
    fill_network(network, checkpoint)
    return TwoViewBase(network, trained, sha256_of(source))


def evaluate_two_view(base: TwoViewBase, volume_hu: Tensor) -> dict[str, dict[str, float]]:
    """Score a base on one CT, beside a constant and the plain back-projection.

    Args:
        base: The base.
        volume_hu: `(1, x, y, z)` in HU at the voxel size of the base; padded or cut to its cube.

    Returns:
        By row: `rmse_hu` and `psnr_2048_db` in the window -1024..1024 HU inside the field of view, and the
        relative re-projection error `reprojection`. The constant is this CT's own mean, which no one knows.
    """
    around = base.network.around
    hu = torch.as_tensor(ResizeWithPadOrCrop(around.shape, value=PADDING_HU)(volume_hu)).contiguous()[None]
    views = project_views(hu, around.spacing_mm, around.geometry)
    measured, truth = hu > PADDING_HU, FIGURE_WINDOW.clip(hu)
    volumes = {
        "constant": torch.where(measured, truth[measured].mean(), PADDING_HU),
        "back-projection": base.window.restore(base.network.smear.coarse(views)),
        "two-view": base.window.restore(base.coarse(views)),
    }
    return {name: _score(volume, truth, measured, (views, around)) for name, volume in volumes.items()}


def evaluate_bundle(checkpoint: str | Path, study: str | Path, fold: str, target: Path | str) -> None:
    """Score a checkpoint on the test patients of a fold and write the figures.

    Args:
        checkpoint: Checkpoint, run or bundle.
        study: `study.json`.
        fold: Name of the fold; `all` scores every patient, whether trained on or not.
        target: JSON file.

    Raises:
        SystemExit: With one line, if a file is missing or does not fit.
    """
    with one_line_errors():
        base, opened = load_two_view_base(checkpoint), opened_study(study)
        rows = opened.rows_of(opened.patients if fold == ALL else opened.fold(fold).test)
        figures = {row.name: evaluate_two_view(base, read_hu(opened, row)) for row in rows}
        with atomic_path(target, overwrite=True) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _score(volume: Tensor, truth: Tensor, measured: Tensor, seen: tuple[Tensor, Scene]) -> dict[str, float]:
    views, around = seen
    difference = (FIGURE_WINDOW.clip(volume) - truth)[measured]
    rmse_hu = float(difference.double().square().mean().sqrt())
    again = reprojection_error(volume, views, around.spacing_mm, around.geometry)
    return {
        "rmse_hu": round(rmse_hu, 2),
        "psnr_2048_db": round(20 * float(np.log10(FIGURE_WINDOW.width_hu / rmse_hu)), 3),
        "reprojection": round(again["relative"], 5),
    }


def _check_same(source: Path, trained: XrayScene, wanted: Scene) -> None:
    now = (tuple(wanted.spacing_mm), wanted.geometry)
    then = (tuple(trained.spacing_mm), trained.geometry)
    if now != then:
        msg = f"{source} must be used with the voxels and geometry of its training, {then}, got {now}; "
        msg += "change the scene, or train another base."
        raise ValueError(msg)
    if len(set(wanted.shape)) > 1:
        msg = f"a two-view base must be used with a cube, got {wanted.shape}; pad the volume."
        raise ValueError(msg)
