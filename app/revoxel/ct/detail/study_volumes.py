"""Prepared CTs as both trainings on X-rays take them: of the scene's voxel size, in HU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from revoxel.core.volumes import read_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from revoxel.ct.detail.lifting import XrayScene
    from revoxel.ct.scans.study import CtRow, CtStudy


def check_study(study: CtStudy, rows: Sequence[CtRow], scene: XrayScene) -> None:
    """Refuse what cannot be X-rayed and learned from.

    Args:
        study: Prepared CTs.
        rows: Those to learn from.
        scene: Ties voxels to pixels.

    Raises:
        ValueError: If there are no rows, or the study has another voxel size.
    """
    if not rows:
        msg = "a run must have rows to learn from, got none; choose another fold, or --fold all."
        raise ValueError(msg)
    if any(side_mm != study.spacing_mm for side_mm in scene.spacing_mm):
        msg = (
            f"the study must have the voxel size of the scene, got {study.spacing_mm:g} mm and "
            f"{list(scene.spacing_mm)}; prepare it anew, or change scene.spacing_mm."
        )
        raise ValueError(msg)


def read_hu(study: CtStudy, row: CtRow) -> Tensor:
    """Fine volume of a row.

    Args:
        study: Where the row stands.
        row: The CT.

    Returns:
        `(1, x, y, z)` in HU.
    """
    return torch.from_numpy(np.asarray(read_volume(study.resolve(row.fine)).data, dtype=np.float32))[None]
