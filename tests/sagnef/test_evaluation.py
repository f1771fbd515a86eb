"""After the gate: windows blended as asked, results in the axes of the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from revoxel.core.hann_inferer import HannSlidingWindowInferer
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.evaluation import MixPredictiond, ScoreFusedd, window_inferer


@pytest.mark.parametrize("mode", ["hann", "gaussian", "constant"])
def test_every_mode_stitches_a_pointwise_network_exactly(mode: str) -> None:
    inferer = window_inferer([8, 8, 8], [4, 4, 4], mode)
    volume = torch.rand(1, 2, 13, 9, 8)
    assert isinstance(inferer, HannSlidingWindowInferer) == (mode == "hann")
    torch.testing.assert_close(inferer(volume, lambda x: x + 1), volume + 1)


@pytest.mark.parametrize(("stride", "mode"), [([9, 8, 8], "hann"), ([0, 4, 4], "hann"), ([4, 4, 4], "box")])
def test_wrong_stride_or_mode_is_refused(stride: list[int], mode: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        window_inferer([8, 8, 8], stride, mode)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("n_residual", [0, 1])
def test_mixture_of_stitched_channels_returns_to_the_axes_of_the_file(axis: int, n_residual: int) -> None:
    shape = (4, 5, 6)
    experts = MetaTensor(torch.rand(2, *shape), affine=2 * torch.eye(4))
    last = experts.as_tensor().movedim(1 + axis, -1)
    weights = torch.softmax(torch.rand(2, *last.shape[1:]), dim=0)
    residual = torch.rand(n_residual, *last.shape[1:])
    item = MixPredictiond(n_experts=2)(
        {
            "pred": torch.cat([torch.zeros_like(weights[:1]), weights, residual]),
            "image": torch.cat([torch.zeros(4, *last.shape[1:]), last]),
            "experts": experts,
            "axis": axis,
        }
    )
    expected = (weights * last).sum(dim=0) + residual.sum(dim=0)
    assert item["fused"].shape == (1, *shape)
    torch.testing.assert_close(item["fused"].as_tensor()[0], expected.movedim(-1, axis))
    torch.testing.assert_close(item["weights"].as_tensor(), weights.movedim(-1, 1 + axis))
    assert torch.equal(item["fused"].affine, experts.affine)


@pytest.fixture
def scored_item(brain: np.ndarray) -> dict[str, object]:
    """A truth known in all but three slices, two experts, and a result that is better than both."""
    rng = np.random.default_rng(0)
    truth = torch.tensor(np.array(brain))[None]
    mask = torch.ones_like(truth)
    mask[..., -3:] = 0
    experts = torch.cat(
        [truth + torch.tensor(rng.normal(0, spread, truth.shape)).float() for spread in (3, 5)]
    )
    fused = truth + torch.tensor(rng.normal(0, 1, truth.shape)).float()
    fused[..., -3:] = 1e6
    return {
        "fused": fused,
        "experts": MetaTensor(experts, affine=torch.eye(4)),
        "high": truth * mask,
        "mask": mask,
        "separation_mm": 3.0,
        "axis": 2,
    }


def test_report_holds_every_baseline_and_marks_oracles(
    scored_item: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "simplex.json").write_text(json.dumps({"A": 0.8, "B": 0.2}))
    score = ScoreFusedd(["A", "B"], tmp_path / "model_epoch001_val0.1.pt")
    scores = score(scored_item)["scores"]
    assert [label.split(":")[0] for label in scores] == ["full volume", "brain"]
    for rows in scores.values():
        assert set(rows) == {"fused", "A", "B"} | (set(Baseline) - {Baseline.BEST})
        assert rows["fused"]["rmse"] == pytest.approx(
            1, rel=0.05
        )  # what lies beyond the truth does not count
        assert rows[Baseline.ORACLE_VOLUME] == rows["A"]
        assert rows[Baseline.SIMPLEX]["rmse"] < rows["A"]["rmse"]


def test_report_does_without_global_weights(scored_item: dict[str, object], tmp_path: Path) -> None:
    scores = ScoreFusedd(["A", "B"], tmp_path)(scored_item)["scores"]
    assert all(Baseline.SIMPLEX not in rows and Baseline.MEDIAN in rows for rows in scores.values())


def test_global_weights_of_other_experts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "simplex.json").write_text(json.dumps({"A": 1.0}))
    with pytest.raises(ValueError, match=r"simplex.json must hold one weight"):
        ScoreFusedd(["A", "B"], tmp_path)
