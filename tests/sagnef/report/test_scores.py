"""Scores of a run are those of the evaluation: same region, same range, same baselines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from revoxel.core.metrics import score
from revoxel.experts.names import Expert
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.regions import brain_region, margin_voxels
from revoxel.sagnef.report.scores import FUSED, disagreement, score_run


def test_rows_are_experts_baselines_oracle_and_result(run, material) -> None:
    scores = score_run(material, run.record)
    assert list(scores.rows) == [*Expert, Baseline.MEAN, Baseline.MEDIAN, Baseline.ORACLE_VOLUME, FUSED]
    assert scores.best == min(Expert, key=lambda name: scores.rows[name].rmse)
    assert scores.rows[Baseline.ORACLE_VOLUME] == scores.rows[scores.best]
    assert scores.gain_db(FUSED) == 0


def test_score_is_that_of_the_brain(run, material) -> None:
    truth = material.truth[material.known]
    region = brain_region(truth, margin_voxels(4.0, 1.0))
    expected = score(material.fused[material.known], truth, region.mask, data_range=region.data_range)
    assert score_run(material, run.record).rows[FUSED] == expected


def test_no_truth_no_scores(run, material) -> None:
    assert score_run(replace(material, truth=None, known=()), run.record) is None


def test_result_is_scored_without_experts(run, material) -> None:
    scores = score_run(replace(material, experts={}), run.record)
    assert list(scores.rows) == [FUSED]
    assert scores.best is None


def test_disagreement_is_the_standard_deviation_over_the_range(material) -> None:
    flat = np.full(material.grid.shape, 100, np.float32)
    experts = {"a": flat - 5, "b": flat + 5}
    fused = np.where(material.head, 200, 0).astype(np.float32)
    assert disagreement(replace(material, experts=experts, fused=fused)) == pytest.approx(5 / 200)
    assert disagreement(replace(material, experts={"a": flat, "b": flat})) == 0
    assert disagreement(replace(material, experts={"a": flat})) is None
