"""The loss: every key is consumed, the standard deviations are trained, tasks are balanced as stated."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from asl_image import network_image
from revoxel.asl.network.channels import LabelMap, split_targets, stack_targets
from revoxel.asl.network.losses import AslLoss, AslLossConfig
from revoxel.asl.network.networks import SpatialASLNet
from revoxel.asl.network.task_balance import TaskBalance
from revoxel.asl.physics import signal
from revoxel.asl.protocol import AslProtocol

PROTOCOL = AslProtocol((1000.0, 2000.0), 1800.0, (1000.0, 2000.0))
SHAPE = (2, 1, 16, 16)


def _truth() -> dict[LabelMap, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(SHAPE)
    mask[..., :4] = 0
    return {
        LabelMap.cbf: 60 * torch.rand(SHAPE, generator=generator) * mask,
        LabelMap.att: (800 + 900 * torch.rand(SHAPE, generator=generator)) * mask,
        LabelMap.mask: mask,
        LabelMap.sigma: torch.tensor([2e-4, 2e-3])[:, None, None, None],
    }


def _label() -> torch.Tensor:
    truth = _truth()
    signals = signal(truth[LabelMap.cbf][:, 0], truth[LabelMap.att][:, 0], PROTOCOL).movedim(-1, 1)
    return stack_targets(truth, signals)


def _maps(cbf_error: float = 5.0, att_error: float = 100.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    truth = _truth()
    values = {
        "cbf": truth[LabelMap.cbf] + cbf_error * torch.randn(SHAPE, generator=generator),
        "att": truth[LabelMap.att] + att_error * torch.randn(SHAPE, generator=generator),
        "cbf_sd": torch.full(SHAPE, 5.0),
        "att_sd": torch.full(SHAPE, 100.0),
    }
    return {name: value.requires_grad_() for name, value in values.items()}


def test_label_is_split_as_it_was_stacked() -> None:
    maps, signals = split_targets(_label())
    assert torch.equal(maps[LabelMap.att], _truth()[LabelMap.att])
    assert signals.shape[1] == PROTOCOL.n_channels


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": "mse"},
        {"mode": "mae"},
        {"mode": "huber"},
        {"cbf_weight": 2.0},
        {"att_weight": 2.0},
        {"nll_weight": 1.0},
        {"variance_weight": 1.0},
        {"dc_weight": 1.0},
        {"tv_weight": 1.0},
        {"att_weight_by_cbf": True},
        {"noise_balance": 1.0},
        {"adaptive": "sequential"},
    ],
    ids=str,
)
def test_every_key_changes_the_loss(changed: dict[str, Any]) -> None:
    maps = _maps()
    flat = {**maps, "cbf": maps["cbf"] * 0.5 + 15, "att": maps["att"]}
    before, after = (AslLoss(config, PROTOCOL)(flat, _label()).item() for config in ({}, changed))
    assert before != after


def test_the_keys_above_are_all() -> None:
    assert len(fields(AslLossConfig)) == 10


def test_unknown_keys_and_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown \['nll'\]"):
        AslLoss({"nll": 1.0}, PROTOCOL)
    with pytest.raises(ValueError, match=r"loss\.mode must be one of"):
        AslLoss({"mode": "l1"}, PROTOCOL)
    with pytest.raises(ValueError, match="must be >= 0"):
        AslLoss({"tv_weight": -1.0}, PROTOCOL)
    with pytest.raises(ValueError, match="adaptive must be one of"):
        TaskBalance("random")  # type: ignore[arg-type]


def test_standard_deviations_are_trained_by_mae_nll_alone() -> None:
    for mode, trained in (("mae_nll", True), ("mae", False)):
        maps = _maps()
        AslLoss({"mode": mode}, PROTOCOL)(maps, _label()).backward()
        assert (maps["cbf_sd"].grad is not None) is trained


def test_log_variance_heads_of_a_network_receive_gradient() -> None:
    network = SpatialASLNet(4, (8, 16))
    truth = _truth()
    AslLoss({}, PROTOCOL)(
        network(network_image(size=(16, 16))), stack_targets(truth, torch.zeros(2, 4, 16, 16))
    ).backward()
    for head in (network.heads.cbf, network.heads.att):
        bias = head[-1].bias
        assert isinstance(bias, torch.Tensor)
        assert bias.grad is not None
        assert bool((bias.grad != 0).all())


def test_likelihood_is_best_at_the_true_standard_deviation() -> None:
    label = _label()
    losses = {}
    for factor in (0.5, 1.0, 2.0):
        maps = _maps()
        sds = {name: maps[name] * factor for name in ("cbf_sd", "att_sd")}
        losses[factor] = AslLoss({"nll_weight": 1.0}, PROTOCOL)(maps | sds, label).item()
    assert min(losses, key=losses.__getitem__) == 1.0


def test_a_standard_deviation_far_too_small_pulls_no_harder_than_five_of_them() -> None:
    pulls = {}
    for cbf_sd in (1e-1, 1e-4):
        log_sd = torch.full(SHAPE, cbf_sd).log().requires_grad_()
        maps = _maps() | {"cbf_sd": log_sd.exp()}
        AslLoss({"nll_weight": 1.0, "cbf_weight": 1.0, "noise_balance": 1.0}, PROTOCOL)(
            maps, _label()
        ).backward()
        assert log_sd.grad is not None
        pulls[cbf_sd] = float(log_sd.grad.sum())
    assert pulls[1e-4] == pytest.approx(1 - 5**2, rel=0.01)
    assert pulls[1e-4] < pulls[1e-1] < -20


def test_the_truth_is_consistent_with_its_signals() -> None:
    truth = _truth()
    maps = {
        "cbf": truth[LabelMap.cbf],
        "att": truth[LabelMap.att],
        "cbf_sd": torch.ones(SHAPE),
        "att_sd": torch.ones(SHAPE),
    }
    loss = AslLoss({"mode": "mae", "dc_weight": 1.0}, PROTOCOL)
    assert float(loss(maps, _label())) == pytest.approx(0.0, abs=1e-5)
    assert {"cbf", "att", "dc", "total", "cbf_variance", "att_variance"} == set(loss.last)


def test_noise_balance_takes_weight_from_the_noisy_slice() -> None:
    quiet, noisy = _maps(), _maps()
    with torch.no_grad():
        quiet["cbf"][0] += 20
        noisy["cbf"][1] += 20
    loss = AslLoss({"noise_balance": 4.0}, PROTOCOL)
    assert loss(quiet, _label()).item() > loss(noisy, _label()).item()


@pytest.mark.parametrize("kind", ["fixed", "uncertainty", "dwa", "val_var", "sequential"])
def test_balance_changes_as_it_says(kind: Any) -> None:
    balance = TaskBalance(kind)
    parts = [{"cbf": 0.4, "att": 0.4}, {"cbf": 0.4, "att": 0.2}]
    val = {"cbf_variance": 0.3, "att_variance": 0.1}
    balance.end_epoch(parts[0], val, 0.25)
    balance.end_epoch(parts[1], val, 0.75)
    weights = balance.weights.tolist()
    if kind in {"fixed", "uncertainty"}:
        assert weights == [1.0, 1.0]
    elif kind == "dwa":
        assert weights[0] > 1.0 > weights[1]
    elif kind == "val_var":
        assert weights == pytest.approx([1.5, 0.5])
    else:
        assert weights == [0.0, 2.0]
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    balance(losses).backward()
    assert losses.grad is not None
    assert [name for name, _ in balance.named_parameters()] == (
        ["log_variances"] if kind == "uncertainty" else []
    )
