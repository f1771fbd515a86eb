"""Intervention consistency: nothing to pay if only the exchanged part's features change in the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from laws import assert_gradient
from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.objective.intervention import InterventionConsistency

PARTITION = LatentPartition(
    (
        Part("vol", 2, ("wt.log_volume",)),
        Part("loc", 3, ("wt.centroid_r_mm", "wt.centroid_a_mm")),
        Part("residual", 4),
    )
)


def _predict(mu: Tensor) -> dict[str, Tensor]:
    return {"vol": mu[:, :2].sum(dim=1, keepdim=True), "loc": mu[:, 2:5] @ torch.eye(3, 2, dtype=mu.dtype)}


def _exchanged(found: Tensor, part: str = "vol", seed: int = 0) -> dict[str, Tensor | str]:
    return {"part": part, "mu_given": _given(part, seed), "mu_found": found}


def _given(part: str = "vol", seed: int = 0) -> Tensor:
    mu = torch.randn(6, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    where = PARTITION.slices[part]
    mu[:, where] = mu[:, where].roll(1, dims=0)
    return mu


def test_features_that_come_back_cost_nothing_though_latents_differ():
    found = _given() + torch.tensor([1.0, -1, 0, 0, 5, 1, 2, 3, 4]).double()
    loss, parts = InterventionConsistency(PARTITION)({"intervention": _exchanged(found)}, _predict)
    assert loss < 1e-12
    assert set(parts) == {"vol", "loc"}


def test_image_that_ignores_the_exchange_pays_for_the_exchanged_part():
    unmoved = _given().clone()
    unmoved[:, :2] = unmoved[:, :2].roll(-1, dims=0)
    _, parts = InterventionConsistency(PARTITION)({"intervention": _exchanged(unmoved)}, _predict)
    assert parts["vol"] > 0.1
    assert parts["loc"] == 0


def test_image_that_moves_with_the_volume_pays_for_location():
    leaking = _given().clone()
    leaking[:, 2:5] += leaking[:, :1]
    _, parts = InterventionConsistency(PARTITION)({"intervention": _exchanged(leaking)}, _predict)
    assert parts["loc"] > 0.1
    assert parts["vol"] == 0


def test_gradient_reaches_what_is_found_and_not_what_is_asked_for():
    loss = InterventionConsistency(PARTITION)
    given, found = _given().requires_grad_(), (_given(seed=1) / 3).requires_grad_()
    exchanged = {"part": "vol", "mu_given": given, "mu_found": found}
    loss({"intervention": exchanged}, _predict)[0].backward()
    assert given.grad is None
    assert (found.grad[:, :2] != 0).all()
    assert_gradient(lambda mu: loss({"intervention": {**exchanged, "mu_found": mu}}, _predict)[0], found)


def test_half_precision_is_computed_in_float32():
    exchanged = {"part": "vol", "mu_given": _given().bfloat16(), "mu_found": _given(seed=1).bfloat16()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = InterventionConsistency(PARTITION)({"intervention": exchanged}, _predict)
    assert loss.dtype == torch.float32


def test_missing_intervention_is_refused():
    with pytest.raises(ValueError, match="intervene=<part>"):
        InterventionConsistency(PARTITION)({"mu": _given()}, _predict)


def test_part_that_predicts_little_must_come_back_too():
    unmoved = _given().clone()
    unmoved[:, :2] = unmoved[:, :2].roll(-1, dims=0)
    consistency = InterventionConsistency(PARTITION)
    prediction = {"intervention": _exchanged(unmoved)}

    def faint(mu: Tensor) -> dict[str, Tensor]:
        return {name: 0.2 * values for name, values in _predict(mu).items()}

    full, _ = consistency(prediction, _predict)
    # In units of what it says it would count as much; in plain ones a twenty-fifth at most.
    assert 0.5 * full < consistency(prediction, faint)[0] < full
