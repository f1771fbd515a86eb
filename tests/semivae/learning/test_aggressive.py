"""Steps of the encoder alone: the decoder is held, they stop when the bound or the information does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from revoxel.core.handlers import DIAGNOSTICS
from revoxel.core.iterations import Precision, TrainingUpdate
from revoxel.semivae.learning.aggressive import MUTUAL_INFORMATION, AggressiveEncoder, mutual_information
from revoxel.semivae.learning.batch import SemiVaeBatch
from revoxel.semivae.learning.objective import SemiVaeObjective
from revoxel.semivae.network.models import build_network
from semivae_cohort import truth
from tiny_semivae import ARGUMENTS


class Scans:
    """Items of a batch, one by one."""

    seed = 0

    def __init__(self, n: int = 4) -> None:
        self.batch = truth(n)

    def __len__(self) -> int:
        return len(self.batch["image"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: value[index % len(self)] for name, value in self.batch.items()}


def engine_and_steps(n_steps: int) -> tuple[Any, AggressiveEncoder, Any]:
    torch.manual_seed(0)
    net = build_network(ARGUMENTS)
    objective = SemiVaeObjective(net)
    engine = SimpleNamespace(
        network=net,
        optimizer=torch.optim.AdamW(net.parameters(), 1e-3),
        state=SimpleNamespace(device=torch.device("cpu"), iteration=1),
        prepare_batch=SemiVaeBatch(objective),
        inferer=lambda image, network, **named: network(image, **named),
        non_blocking=False,
    )
    evaluator = SimpleNamespace(state=SimpleNamespace(metrics={}, epoch=0))
    update = TrainingUpdate(Precision("float32"))
    return engine, AggressiveEncoder(update, net, objective, Scans(), evaluator, n_steps), evaluator


def test_encoder_moves_and_decoder_is_held() -> None:
    engine, steps, _ = engine_and_steps(2)
    net = engine.network
    before = {name: value.clone() for name, value in net.state_dict().items()}
    steps._catch_up(engine, 3)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(before[name], value)}
    assert not any(name.startswith(("decoder", "heads")) for name in moved)
    assert any(name.startswith("encoder") for name in moved)


def test_steps_stop_when_the_bound_no_longer_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, steps, _ = engine_and_steps(100)
    bounds = iter([*np.linspace(1.0, 0.5, 20), *np.full(80, 0.9)])
    taken: list[float] = []
    monkeypatch.setattr(steps, "_step", lambda *_: taken.append(next(bounds)) or taken[-1])
    steps._catch_up(engine, 2)
    assert len(taken) == 30


def test_encoder_has_caught_up_when_information_stops_rising() -> None:
    _, steps, evaluator = engine_and_steps(5)
    for epoch, nats, done in ((1, 1.0, False), (2, 2.0, False), (3, 1.9, True), (4, 9.0, True)):
        evaluator.state.epoch, evaluator.state.metrics[DIAGNOSTICS] = epoch, {MUTUAL_INFORMATION: nats}
        steps._look_at_validation()
        assert steps.caught_up is done


def test_state_goes_on() -> None:
    _, steps, _ = engine_and_steps(5)
    steps.caught_up, steps.most_nats, steps.seen_epoch = True, 2.5, 7
    _, again, _ = engine_and_steps(5)
    again.load_state_dict(steps.state_dict())
    assert (again.caught_up, again.most_nats, again.seen_epoch) == (True, 2.5, 7)
    assert engine_and_steps(0)[1].caught_up


def test_information_is_none_for_one_posterior_and_log_n_for_separate_ones() -> None:
    same = mutual_information(torch.zeros(50, 4), torch.zeros(50, 4))
    apart = mutual_information(100.0 * torch.arange(50.0)[:, None].expand(50, 4), torch.zeros(50, 4))
    assert abs(same) < 1e-9
    assert np.isclose(apart, np.log(50))
