"""Score every row on one case: volumes are read once, rows are made and scored one at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from revoxel.sagnef.baselines import Baseline, best_row, mixture_volumes, oracle_volumes
from revoxel.sagnef.comparison.results import ExpertUsage, RegionScores, RowScores
from revoxel.sagnef.comparison.rows import Contest, FusionRow, fusion_rows, usage_of
from revoxel.sagnef.regions import Region, RegionName, scored_regions
from revoxel.sagnef.tiles import mix_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from revoxel.core.metrics import Scores


def score_case(contest: Contest, tumour: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Score all rows of one case.

    Args:
        contest: The case and what is compared on it.
        tumour: `(i, j, k)` on the truth's grid; where the tumour is, if known.

    Returns:
        Fields of `CaseResult` that the volumes decide.
    """
    start = time.perf_counter()
    volumes = contest.volumes
    regions = scored_regions(volumes.truth, volumes.margin, tumour)
    scores: dict[str, dict[str, Scores]] = {region.name: {} for region in regions}
    for row, volume in _rows(contest, regions):
        for region in regions:
            scores[region.name][row] = region.score(volume, volumes.truth)
    names = [expert.value for expert in volumes.experts]
    for rows in scores.values():
        rows[Baseline.BEST] = rows[contest.weights.best]
        rows[Baseline.ORACLE_VOLUME] = rows[best_row(rows, names)]
    usage, entropy = usage_of(contest, _brain(regions))
    return {
        "best_expert": contest.weights.best.value,
        "regions": {region.name: _record(region, scores[region.name], volumes.truth) for region in regions},
        "usage": {
            name: ExpertUsage(mean_weight=mean, dominant_share=share) for name, (mean, share) in usage.items()
        },
        "entropy_nat": entropy if usage else None,
        "decision": contest.findings.decision,
        "notes": sorted({*volumes.notes, *contest.findings.notes, *contest.weights.notes}),
        "seconds": round(time.perf_counter() - start, 1),
    }


def _rows(contest: Contest, regions: list[Region]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every row that has a volume of its own, cut to the truth."""
    volumes, weights = contest.volumes, contest.weights
    experts = volumes.cut_experts()
    yield from experts.items()
    yield from mixture_volumes(experts, weights.simplex)
    yield FusionRow.TILES, mix_tiles(experts, weights.tiles, _brain(regions), volumes.grid.affine)
    for row, volume in fusion_rows(contest):
        yield row, volumes.cut(volume)
    yield from oracle_volumes(experts, volumes.truth)


def _brain(regions: list[Region]) -> NDArray[np.bool_]:
    (mask,) = (region.mask for region in regions if region.name is RegionName.BRAIN)
    if mask is None:
        raise RuntimeError(regions)
    return mask


def _record(region: Region, scores: Mapping[str, Scores], truth: NDArray[np.float32]) -> RegionScores:
    rows = {
        row: RowScores(
            psnr_db=values.psnr_db if np.isfinite(values.psnr_db) else None,
            ssim=values.ssim,
            rmse=values.rmse,
            data_range=values.data_range,
        )
        for row, values in scores.items()
    }
    n_voxels = truth.size if region.mask is None else int(region.mask.sum())
    return RegionScores(description=region.description, n_voxels=n_voxels, rows=rows)
