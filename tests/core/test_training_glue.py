"""What bundles call by name: budget, order of items, configurations, starts that are refused."""

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events

from revoxel.core import schedule
from revoxel.core.adoption import share_names
from revoxel.core.iterations import Precision
from revoxel.core.sampling import EpochSampler
from revoxel.core.schedule import Budget
from revoxel.core.training import (
    check_bundle_start,
    checkpoint_of,
    discard_run,
    load_weights,
    overlaid,
    place,
    run_engine,
)


def test_overlay_wins_key_by_key_and_none_removes():
    base = {"a": {"x": 1, "y": 2}, "b": 3}
    assert overlaid(base, {"a": {"y": 5}, "b": None}) == {"a": {"x": 1, "y": 5}}
    assert base == {"a": {"x": 1, "y": 2}, "b": 3}


def test_sampler_tells_the_epoch_through_the_index():
    sampler = EpochSampler(list(range(5)), seed=1)
    first = sorted(sampler)
    sampler.set_epoch(2)
    assert first == [0, 1, 2, 3, 4]
    assert sorted(sampler) == [10, 11, 12, 13, 14]
    assert list(sampler) != sorted(sampler)


def test_budget_ends_a_training_and_lowers_the_rate(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(schedule.time, "process_time", lambda: float(next(clock)))
    monkeypatch.setattr(schedule.torch, "get_num_threads", lambda: 1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    validations = []
    evaluator = SimpleNamespace(state=SimpleNamespace(epoch=0), run=validations.append)
    rates = []
    engine = Engine(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    engine.state.device = "cpu"
    budget = Budget(optimizer, evaluator, seconds=50)
    budget.attach(engine)
    engine.run([0] * 10, max_epochs=100)
    assert len(rates) == 50
    assert validations == [5]
    assert rates[1] > rates[25] > rates[49] > 0
    other = Budget(optimizer, evaluator, seconds=50)
    other.load_state_dict(budget.state_dict())
    assert other.spent_s == budget.spent_s >= 50


def test_a_budget_that_is_spent_trains_no_further():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    steps, epochs = [], []
    engine = Engine(lambda *batch: steps.append(batch))
    engine.state.device = "cpu"
    budget = Budget(optimizer, SimpleNamespace(), seconds=5)
    budget.attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: epochs.append(engine.state.epoch))
    budget.load_state_dict({"spent_s": 5.5})
    engine.run([0] * 10, max_epochs=3)
    assert (steps, epochs) == ([], [])


def test_without_a_budget_the_rate_follows_the_epochs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = []
    engine = Engine(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    engine.state.device = "cpu"
    Budget(optimizer, SimpleNamespace(), seconds=0).attach(engine)
    engine.run([0] * 100, max_epochs=5)
    assert len(rates) == 500
    assert rates[0] < 0.2
    assert max(rates) > 0.9
    assert 0 < rates[-1] < 0.05


def test_bundle_root_must_be_a_bundle(tmp_path):
    with pytest.raises(SystemExit, match="bundle_root must be a bundle's folder"):
        check_bundle_start(tmp_path)


def test_missing_weights_stop_with_one_line_and_none_are_none(tmp_path):
    network = torch.nn.Linear(1, 1)
    load_weights(network, None, {})
    with pytest.raises(SystemExit, match="checkpoint must be an existing file"):
        load_weights(network, tmp_path / "none.pt", {})
    with pytest.raises(FileNotFoundError, match="named checkpoint"):
        checkpoint_of(tmp_path)


def test_a_loss_that_is_not_finite_stops_with_one_line():
    def step(*_):
        raise FloatingPointError("loss must be finite, got nan; lower the rate.")

    with pytest.raises(SystemExit, match="loss must be finite"):
        run_engine(SimpleNamespace(run=step))


def test_discarding_removes_a_run_and_nothing_else(tmp_path):
    for name in ("model_epoch001_val0.1.pt", "last.pt", "training_log.csv", "notes.txt"):
        (tmp_path / name).touch()
    discard_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_convolutions_of_both_kinds_lie_channels_last():
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 2, 3), torch.nn.Conv2d(2, 2, 3))
    placed = place(network, torch.device("cpu"), Precision("float32"))
    assert placed[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert placed[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_wrapper_reads_and_writes_the_names_of_what_it_wraps():
    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.core = torch.nn.Linear(2, 2)
            share_names(self, "core")

    wrapper, plain = Wrapper(), torch.nn.Linear(2, 2)
    wrapper.load_state_dict(plain.state_dict())
    assert torch.equal(wrapper.core.weight, plain.weight)
    assert set(wrapper.state_dict()) == {"weight", "bias"}
