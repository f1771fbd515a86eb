"""Numbers of one run: against the truth if there is one, and how much the experts disagree."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from revoxel.sagnef.baselines import Baseline, best_row, mixture_volumes
from revoxel.sagnef.regions import brain_region, margin_voxels

if TYPE_CHECKING:
    from revoxel.core.metrics import Scores
    from revoxel.sagnef.report.material import Material
    from revoxel.sagnef.report.records import FusionRecord

FUSED = "fused"


@dataclass(frozen=True)
class RunScores:
    """Scores of one run in the brain.

    Args:
        region: What the region and its range are.
        rows: Experts, mean, median, the expert that is best on this very volume, and the fused volume.
        best: Which expert that is.
    """

    region: str
    rows: dict[str, Scores]
    best: str | None

    def gain_db(self, row: str) -> float:
        """PSNR of the fused volume over another row.

        Args:
            row: Which.
        """
        if self.rows[FUSED].rmse == self.rows[row].rmse:
            return 0.0
        return self.rows[FUSED].psnr_db - self.rows[row].psnr_db


def score_run(material: Material, record: FusionRecord) -> RunScores | None:
    """Score the fused volume and what a user would try first.

    Args:
        material: Volumes.
        record: Of the run.

    Returns:
        The scores, or None without a truth.

    Raises:
        ValueError: If the truth is constant or smaller than a window of SSIM.
    """
    if material.truth is None:
        return None
    known = material.known
    truth = np.ascontiguousarray(material.truth[known])
    spacing_mm = material.grid.spacing_mm[record.slice_axis]
    region = brain_region(truth, margin_voxels(record.separation_mm, spacing_mm))
    experts = {name: volume[known] for name, volume in material.experts.items()}
    others = chain(experts.items(), mixture_volumes(experts)) if experts else iter(())
    rows = {row: region.score(volume, truth) for row, volume in others}
    best = best_row(rows, list(experts)) if experts else None
    if best:
        rows[Baseline.ORACLE_VOLUME] = rows[best]
    rows[FUSED] = region.score(material.fused[known], truth)
    return RunScores(region.description, rows, best)


def disagreement(material: Material) -> float | None:
    """How far the experts lie apart: their standard deviation, mean over the head, share of its range.

    Args:
        material: Volumes.

    Returns:
        The share, or None with fewer than two experts.
    """
    if len(material.experts) < 2:
        return None
    inside = material.head
    apart = np.std([volume[inside] for volume in material.experts.values()], axis=0)
    return float(apart.mean() / np.percentile(material.fused[inside], 99.9))
