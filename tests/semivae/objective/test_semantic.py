"""Semantic loss: absent features and unknown labels cost nothing and teach nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from laws import assert_gradient
from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.objective.semantic import MaskedSemanticLoss, presence_loss

PARTITION = LatentPartition(
    (
        Part("vol", 3, ("wt.log_volume", "ncr.log_volume"), ("ncr",)),
        Part("shape", 2, ("wt.sphericity",)),
        Part("residual", 5),
    )
)
NAN = float("nan")


def _predictions(dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    return {
        "vol": torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=dtype, requires_grad=True),
        "shape": torch.tensor([[0.3], [0.1]], dtype=dtype, requires_grad=True),
    }


TARGETS = torch.tensor([[1.5, NAN, 0.0], [0.5, 2.0, NAN]]).double()


def test_loss_is_the_mean_huber_of_what_is_present():
    total, parts = MaskedSemanticLoss(PARTITION)(_predictions(), TARGETS)
    # Volume: errors 0.5, 0 and 3; Huber 0.125, 0 and 2.5. Shape: error 0.3; Huber 0.045, weight 0.5.
    torch.testing.assert_close(parts["vol"], torch.tensor(2.625 / 3).double())
    torch.testing.assert_close(parts["shape"], torch.tensor(0.045).double())
    torch.testing.assert_close(total, parts["vol"] + 0.5 * parts["shape"])


def test_absent_features_teach_nothing():
    predictions = _predictions()
    MaskedSemanticLoss(PARTITION)(predictions, TARGETS)[0].backward()
    assert predictions["vol"].grad[0, 1] == 0
    assert predictions["shape"].grad[1, 0] == 0
    assert torch.isfinite(predictions["vol"].grad).all()


def test_mask_hides_numbers_as_well():
    mask = torch.tensor([[True, False, True], [True, False, False]])
    _, parts = MaskedSemanticLoss(PARTITION)(_predictions(), TARGETS, mask)
    torch.testing.assert_close(parts["vol"], torch.tensor(0.125 / 2).double())


def test_batch_without_any_feature_costs_nothing():
    predictions = _predictions()
    total, _ = MaskedSemanticLoss(PARTITION)(predictions, torch.full_like(TARGETS, NAN))
    total.backward()
    assert total == 0
    assert (predictions["vol"].grad == 0).all()


def test_weights_and_delta_are_used():
    plain, _ = MaskedSemanticLoss(PARTITION)(_predictions(), TARGETS)
    heavier, parts = MaskedSemanticLoss(PARTITION, {"vol": 3.0, "shape": 0.0}, huber_delta=10.0)(
        _predictions(), TARGETS
    )
    assert heavier > plain
    torch.testing.assert_close(heavier, 3 * (0.125 + 4.5) / 3 + 0 * parts["shape"])


def test_gradient_is_that_of_finite_differences():
    loss = MaskedSemanticLoss(PARTITION)
    predictions = _predictions()
    # Away from the error of 0 and the kink at delta.
    targets = TARGETS + 0.07
    assert_gradient(
        lambda vol, shape: loss({"vol": vol, "shape": shape}, targets)[0],
        predictions["vol"],
        predictions["shape"],
    )


def test_presence_is_a_cross_entropy_of_what_is_known():
    logits = torch.tensor([[0.3], [-2.0], [5.0]], requires_grad=True)
    truth = torch.tensor([[1.0], [0.0], [NAN]])
    loss = presence_loss({"vol": logits}, truth)
    loss.backward()
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits[:2], truth[:2]))
    assert logits.grad[2] == 0


def test_half_precision_is_computed_in_float32():
    predictions = _predictions(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = MaskedSemanticLoss(PARTITION)(predictions, TARGETS.float())
        presence = presence_loss({"vol": predictions["vol"][:, :1]}, torch.ones(2, 1, dtype=torch.bool))
    assert total.dtype == presence.dtype == torch.float32


@pytest.mark.parametrize(
    "settings", [{"weights": {"residual": 1.0}}, {"weights": {"vol": -1.0}}, {"huber_delta": 0.0}], ids=str
)
def test_impossible_semantics_are_refused(settings):
    with pytest.raises(ValueError, match="semantics must have"):
        MaskedSemanticLoss(PARTITION, **settings)
