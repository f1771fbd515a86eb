"""Detail refinement on a held-out patient, beside unsharp masking, without views and with wrong ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.core.one_line import one_line_errors
from revoxel.core.volumes import atomic_path, read_volume
from revoxel.ct.detail.inference import refine_detail
from revoxel.ct.detail.models import load_refiner
from revoxel.ct.detail.network import keep_low_frequencies
from revoxel.ct.evaluation.baselines import Unsharp, best_unsharp, fit_unsharp, unsharp
from revoxel.ct.evaluation.scores import FIGURE_WINDOW
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.learning.training import ALL, opened_study
from revoxel.ct.xray.agreement import reprojection_error
from revoxel.ct.xray.projector import project_views

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from revoxel.ct.detail.bases import FrozenBase
    from revoxel.ct.detail.models import Refiner
    from revoxel.ct.scans.study import CtRow, CtStudy

_LEAST_MEASURED = 0.9


@dataclass(frozen=True, eq=False)
class Case:
    """Tiles of one CT.

    Attributes:
        truth_hu: `(B, 1, n, n, n)`.
        coarse_hu: What the base gives.
        measured: Voxels that count.
        views: `(B, 2, 1, row, column)` in nepers.
    """

    truth_hu: Tensor
    coarse_hu: Tensor
    measured: Tensor
    views: Tensor


def tiles(shape: tuple[int, ...], size: int) -> Iterator[tuple[slice, ...]]:
    """Cubes that cover a volume, overlapping where they must.

    Args:
        shape: Of the volume.
        size: Side of a cube in voxels.
    """
    starts = []
    for side in shape:
        n_tiles = max(1, -(-side // size))
        starts.append(np.linspace(0, side - size, n_tiles).round().astype(int))
    for corner in product(*starts):
        yield tuple(slice(int(first), int(first) + size) for first in corner)


def tiled_case(study: CtStudy, row: CtRow, size: int, refiner: Refiner, base: FrozenBase) -> Case:
    """Cut a CT into tiles, X-ray each and make it coarse.

    Args:
        study: Where the row stands.
        row: The CT.
        size: Side of a tile in voxels.
        refiner: Whose scene is used.
        base: Makes the coarse volumes.

    Raises:
        ValueError: If no tile is inside the field of view.
    """
    hu = torch.from_numpy(np.asarray(read_volume(study.resolve(row.fine)).data, dtype=np.float32))
    cut = [hu[place] for place in tiles(tuple(hu.shape), size)]
    kept = [tile for tile in cut if float((tile > PADDING_HU).float().mean()) >= _LEAST_MEASURED]
    if not kept:
        msg = (
            f"{row.name} must hold a cube of {size} voxels in its field of view, got none; use smaller ones."
        )
        raise ValueError(msg)
    truth = torch.stack(kept)[:, None]
    window, scene = refiner.scene.window, refiner.scene
    views = project_views(truth, scene.spacing_mm, scene.geometry)
    coarse = window.restore(base.coarse(views, window.normalise(truth)))
    return Case(truth, coarse, truth > PADDING_HU, views)


def rmse_hu(volume_hu: Tensor, case: Case) -> float:
    """Root mean square error in the window -1024..1024 HU, inside the field of view.

    Args:
        volume_hu: `(B, 1, n, n, n)`.
        case: Holds the truth.
    """
    difference = FIGURE_WINDOW.clip(volume_hu) - FIGURE_WINDOW.clip(case.truth_hu)
    return float(difference[case.measured].double().square().mean().sqrt())


def evaluate_refiner(refiner: Refiner, case: Case, others: list[Case]) -> dict[str, dict[str, Any]]:
    """Score a network and what a user would try first on one patient.

    Args:
        refiner: The network.
        case: The patient.
        others: Other patients: unsharp masking is fixed on them, and their X-rays are the wrong ones.

    Returns:
        By row: `rmse_hu`, `psnr_2048_db`, `gain_db` over the coarse volume, and the relative re-projection
        error `reprojection`.
    """
    fixed, oracle = _fitted(others), _fitted([case])
    volumes = {
        "coarse": case.coarse_hu,
        "unsharp, fixed on the others": _sharpened(case.coarse_hu, fixed),
        "unsharp, best for this patient": _sharpened(case.coarse_hu, oracle),
        "network": _refined(refiner, case, case.views),
        "network, no views": _refined(refiner, case, None),
        "network, next tile's views": _refined(refiner, case, case.views.roll(1, 0)),
    }
    if others:
        wrong = others[0].views[torch.arange(len(case.views)) % len(others[0].views)]
        volumes["network, another patient's views"] = _refined(refiner, case, wrong)
    if refiner.network.consistency == "none":
        kept = keep_low_frequencies(volumes["network"], case.coarse_hu)
        volumes["network, low frequencies kept"] = kept
    reached = rmse_hu(case.coarse_hu, case)
    return {name: _score(volume, case, refiner, reached) for name, volume in volumes.items()}


def _score(volume_hu: Tensor, case: Case, refiner: Refiner, coarse_rmse_hu: float) -> dict[str, Any]:
    error, scene = rmse_hu(volume_hu, case), refiner.scene
    again = reprojection_error(volume_hu, case.views, scene.spacing_mm, scene.geometry)
    return {
        "rmse_hu": round(error, 2),
        "psnr_2048_db": round(20 * float(np.log10(FIGURE_WINDOW.width_hu / error)), 3),
        "gain_db": round(20 * float(np.log10(coarse_rmse_hu / error)), 3),
        "reprojection": round(again["relative"], 5),
    }


def _refined(refiner: Refiner, case: Case, views: Tensor | None) -> Tensor:
    parts = [
        refine_detail(refiner.network, coarse[None], None if views is None else views[index][None]).volume_hu
        for index, coarse in enumerate(case.coarse_hu)
    ]
    return torch.cat(parts)


def _fitted(cases: list[Case]) -> Unsharp:
    fits = [
        fit_unsharp(*(volume[index, 0].numpy() for volume in (case.coarse_hu, case.truth_hu, case.measured)))
        for case in cases
        for index in range(len(case.truth_hu))
    ]
    return best_unsharp(fits, ["the tiles"])


def _sharpened(coarse_hu: Tensor, settings: Unsharp) -> Tensor:
    return torch.stack([torch.from_numpy(unsharp(part[0].numpy(), settings))[None] for part in coarse_hu])


def evaluate_bundle(
    checkpoint: str | Path, study: str | Path, fold: str, target: Path | str, *, base: FrozenBase, size: int
) -> None:
    """Score a checkpoint on the test patients of a fold and write the figures.

    Args:
        checkpoint: Checkpoint, run or bundle.
        study: `study.json`.
        fold: Name of the fold; `all` scores every patient, whether trained on or not.
        target: JSON file.
        base: Makes the coarse volumes.
        size: Side of a tile in voxels.

    Raises:
        SystemExit: With one line, if a file is missing or does not fit.
    """
    with one_line_errors():
        refiner, opened = load_refiner(checkpoint), opened_study(study)
        tested = set(opened.patients if fold == ALL else opened.fold(fold).test)
        cases = {row.name: tiled_case(opened, row, size, refiner, base) for row in opened.rows}
        figures = {}
        for row in opened.rows_of(tested):
            left_out = {row.patient_id} if fold == ALL else tested
            others = [cases[other.name] for other in opened.rows if other.patient_id not in left_out]
            figures[row.name] = evaluate_refiner(refiner, cases[row.name], others)
        with atomic_path(target, overwrite=True) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
