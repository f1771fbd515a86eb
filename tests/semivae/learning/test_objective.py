"""The sum that a training minimises: schedules move it, selection does not follow them, its state goes on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from revoxel.semivae.learning.batch import SemiVaeBatch
from revoxel.semivae.learning.objective import ObjectiveSettings, SelectionLoss, SemiVaeObjective
from revoxel.semivae.network.models import build_network
from revoxel.semivae.network.semivae import SemiVAE
from revoxel.semivae.objective.likelihood import voxel_weights
from semivae_cohort import truth
from tiny_semivae import ARGUMENTS, PARTITION, tiny_images

FULL: dict[str, Any] = {
    "semantic": {"target": 1.0},
    "presence": {"target": 0.1},
    "independence": {"target": 0.1},
    "intervention": {"target": 0.5, "start": 0.5},
    "total_correlation": {"target": 0.01},
    "mmd": {"target": 0.1},
}


def network(**change: Any) -> SemiVAE:
    torch.manual_seed(0)
    return build_network(ARGUMENTS | change)


def test_total_is_the_sum_of_its_parts_at_the_weights_of_now() -> None:
    net = network()
    objective = SemiVaeObjective(net, {"schedules": FULL}, n_scans=10)
    batch = truth()
    objective.advance(1.0)
    total = objective(net(batch["image"], intervene="vol"), batch)
    last = objective.last
    parts = sum(objective.weights[name] * last[name] for name in FULL)
    weight = voxel_weights(batch["tumour"], batch["brain"], tumour_weight=5.0, air_weight=1.0)
    beta = last["kl"] / (4 * weight.sum() / len(weight))
    assert torch.allclose(total.detach(), last["nll_weighted"] + beta + parts, atol=1e-5)
    assert {"kl_residual", "semantic_vol", "independence_vol_loc", "total_correlation_offset"} <= set(last)


def test_part_without_a_weight_is_not_computed_and_unknown_ones_are_refused() -> None:
    net = network()
    objective = SemiVaeObjective(net, {"schedules": {"semantic": {"target": 1.0}, "mmd": {"target": 0.0}}})
    objective(net(tiny_images()), truth())
    assert "mmd" not in objective.last
    assert "independence" not in objective.last
    with pytest.raises(ValueError, match=r"got unknown .*perceptual"):
        ObjectiveSettings(schedules={"perceptual": {}})


def test_parts_are_exchanged_in_turn_once_their_weight_has_risen() -> None:
    net = network()
    objective = SemiVaeObjective(net, {"schedules": FULL}, n_scans=10)
    assert objective.exchanged() is None
    objective.advance(1.0)
    seen = []
    for _ in PARTITION.names:
        seen.append(objective.exchanged())
        objective(net(tiny_images(), intervene=seen[-1]), truth())
    assert sorted(seen) == sorted(PARTITION.names)


def test_selection_does_not_follow_schedules_and_changes_nothing() -> None:
    net = network().eval()
    objective = SemiVaeObjective(net, {"schedules": FULL}, n_scans=10)
    objective(net.train()(tiny_images()), truth())
    net.eval()
    selection = SelectionLoss(objective)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    figures = []
    with torch.no_grad():
        for progress in (0.0, 0.5, 1.0):
            objective.advance(progress)
            figures.append(float(selection(net(tiny_images()), truth())))
    assert figures[0] == figures[1] == figures[2]
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())
    assert "semantic" in selection.last


def test_state_holds_variances_and_queue_and_no_weights_of_the_network() -> None:
    net = network()
    objective = SemiVaeObjective(net, {"schedules": FULL}, n_scans=10)
    objective(net(tiny_images()), truth())
    state = objective.state_dict()
    assert {"likelihood.variance", "parts.independence.queued"} <= set(state)
    assert not any(name.startswith(("encoder", "decoder", "predict")) for name in state)
    again = SemiVaeObjective(net, {"schedules": FULL}, n_scans=10)
    again.load_state_dict(state)
    assert torch.equal(again.likelihood.variance, objective.likelihood.variance)


def test_pulse_that_was_never_measured_counts_nothing() -> None:
    net = network().eval()
    objective, batch = SemiVaeObjective(net), truth()
    batch["measured"] = batch["measured"].clone()
    batch["measured"][:, 3] = False
    with torch.no_grad():
        prediction = net(batch["image"])
        values = []
        for gain in (1.0, 50.0):
            objective.likelihood.n_updates.zero_()
            batch["image"] = batch["image"].clone()
            batch["image"][:, 3] *= gain
            values.append(float(objective.elbo(prediction, batch)[1]["nll_weighted"]))
    assert math.isclose(*values, rel_tol=1e-6)


def test_second_decoder_is_asked_for_the_residual_at_half_resolution() -> None:
    net = network(decoder={"channels": [8, 8, 4, 4], "auxiliary_residual": True})
    objective = SemiVaeObjective(net, {"schedules": {"auxiliary": {"target": 0.5}}})
    objective(net(tiny_images()), truth()).backward()
    gradient = next(net.auxiliary_decoder.parameters()).grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_hierarchy_and_independence_of_one_pair_are_refused_and_of_others_not() -> None:
    net = network(hierarchy={"loc": ["vol"]})
    settings = {"schedules": {"independence": {"target": 1.0}}}
    with pytest.raises(ValueError, match="linked by a hierarchy"):
        SemiVaeObjective(net, settings)
    apart = SemiVaeObjective(net, settings | {"independence": {"pairs": [("vol", "residual")]}})
    assert torch.isfinite(apart(net(tiny_images()), truth()))


def test_part_that_is_not_finite_is_named() -> None:
    net, batch = network(), truth()
    prediction = net(batch["image"])
    prediction["predictions"]["vol"] = prediction["predictions"]["vol"] * float("nan")
    with pytest.raises(FloatingPointError, match="got wrong semantic"):
        SemiVaeObjective(net, {"schedules": {"semantic": {"target": 1.0}}})(prediction, batch)


def test_network_sees_blanked_pulses_and_the_objective_the_whole_image() -> None:
    batch = truth()
    batch["available"] = batch["available"].clone()
    batch["available"][0, 1] = False
    image, whole, _, named = SemiVaeBatch()({**batch, "patient_id": ["a", "b", "c"]}, torch.device("cpu"))
    assert (image[0, 1] == 0).all()
    assert torch.equal(whole["image"], batch["image"])
    assert named["intervene"] is None
    assert "patient_id" not in whole
