"""The handlers on a toy problem: parts are logged, runs resume exactly, autocast is real on a CPU."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.utils import set_determinism
from torch.utils.data import DataLoader

from revoxel.core import handlers as h
from revoxel.core import iterations as it
from revoxel.core.checkpoints import load_checkpoint

CPU = torch.device("cpu")
PROTOCOL = {"system": "toy"}


class PartsLoss(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, torch.Tensor] = {}

    def forward(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        square, absolute = (prediction - label).square().mean(), (prediction - label).abs().mean()
        self.last = {"total": (square + absolute).detach(), "square": square.detach()}
        return square + absolute


class Run:
    """Network, engines and handlers as a bundle wires them."""

    def __init__(
        self,
        folder: Path,
        epochs: int,
        *,
        patience: int = 0,
        dtype: str = "float32",
        lr: float = 0.05,
        recipe: dict[str, Any] | None = None,
        device: torch.device = CPU,
    ):
        set_determinism(0)
        items = [
            {"image": torch.full((1, 4), float(n)), "label": torch.full((1, 1), 3.0 * n)} for n in range(4)
        ]
        loader = DataLoader(items, batch_size=2)
        self.network = torch.nn.Linear(4, 1).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr)
        loss, precision = PartsLoss(), it.Precision(dtype)
        shared: dict[str, Any] = {"device": device, "network": self.network, "decollate": False}
        self.evaluator = SupervisedEvaluator(
            val_data_loader=loader,
            iteration_update=it.EvaluationUpdate(loss, precision),
            key_val_metric={h.VALIDATION_LOSS: it.mean_loss()},
            additional_metrics={h.LOSS_PARTS: it.ComponentMeans()},
            **shared,
        )
        update = it.TrainingUpdate(precision)
        stopping = h.EarlyStopping(self.evaluator, patience)
        states = {
            "model": self.network,
            "optimizer": self.optimizer,
            "update": update,
            "early_stopping": stopping,
        }
        self.trainer = SupervisedTrainer(
            max_epochs=epochs,
            train_data_loader=loader,
            optimizer=self.optimizer,
            loss_function=loss,
            iteration_update=update,
            key_train_metric={"train_loss": it.mean_loss()},
            additional_metrics={h.LOSS_PARTS: it.ComponentMeans()},
            train_handlers=[
                ValidationHandler(1, self.evaluator),
                stopping,
                h.EpochLog(folder / "log.csv", self.evaluator, self.optimizer),
                h.Checkpoints(folder, states, self.evaluator, PROTOCOL, recipe=recipe, every=2),
                h.Progress(),
            ],
            **shared,
        )

    def go(self) -> Run:
        self.trainer.run()
        return self


def test_log_has_one_row_per_epoch_with_every_part(tmp_path: Path) -> None:
    Run(tmp_path, 3).go()
    rows = h.read_epoch_log(tmp_path / "log.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"train_total", "train_square", "val_total", "val_square", "lr", "seconds"} <= set(rows[0])
    assert float(rows[-1]["val_total"]) < float(rows[0]["val_total"])


def test_log_keeps_diagnostics_through_epochs_without_validation(tmp_path: Path) -> None:
    run = Run(tmp_path, 1).go()
    log = h.EpochLog(tmp_path / "log.csv", run.evaluator, run.optimizer)
    for epoch, figures in ((2, {"diag/au": 7.0}), (3, {"diag/au": 8.0})):
        run.trainer.state.epoch, run.evaluator.state.metrics[h.DIAGNOSTICS] = epoch, figures
        run.evaluator.state.epoch = 2
        log(run.trainer)
    assert [row["diag/au"] for row in h.read_epoch_log(tmp_path / "log.csv")] == ["", "7.0", ""]


def test_named_checkpoint_carries_epoch_and_validation_loss(tmp_path: Path) -> None:
    run = Run(tmp_path, 2).go()
    loss = run.evaluator.state.metrics[h.VALIDATION_LOSS]
    checkpoint = load_checkpoint(tmp_path / f"model_epoch002_val{loss:.6f}.pt", PROTOCOL)
    assert torch.equal(checkpoint.states["model"]["weight"], run.network.weight)


def test_interrupted_run_continues_bit_for_bit(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole", 4).go()
    Run(tmp_path / "parts", 2).go()
    parts = Run(tmp_path / "parts", 4).go()
    assert torch.equal(whole.network.weight, parts.network.weight)
    logs = [h.read_epoch_log(tmp_path / name / "log.csv") for name in ("whole", "parts")]
    values = [[{k: v for k, v in row.items() if k != "seconds"} for row in log] for log in logs]
    assert values[0] == values[1]


def test_finished_run_does_nothing_when_started_again(tmp_path: Path) -> None:
    first = Run(tmp_path, 2).go()
    again = Run(tmp_path, 2).go()
    assert torch.equal(first.network.weight, again.network.weight)
    assert len(h.read_epoch_log(tmp_path / "log.csv")) == 2


def test_run_of_another_protocol_is_not_continued(tmp_path: Path) -> None:
    Run(tmp_path, 1).go()
    run = Run(tmp_path, 2)
    checkpoints = h.Checkpoints(tmp_path, {"model": run.network}, run.evaluator, {"system": "other"})
    checkpoints.attach(run.trainer)
    with pytest.raises(ValueError, match="wanted 'other', got 'toy'"):
        run.go()


def test_early_stopping_keeps_its_count_over_a_restart(tmp_path: Path) -> None:
    Run(tmp_path, 2, patience=3, lr=0.0).go()
    Run(tmp_path, 9, patience=3, lr=0.0).go()
    assert len(h.read_epoch_log(tmp_path / "log.csv")) == 4
    Run(tmp_path, 9, patience=3, lr=0.0).go()
    assert len(h.read_epoch_log(tmp_path / "log.csv")) == 4


def test_autocast_is_bfloat16_on_a_cpu(tmp_path: Path) -> None:
    run, seen = Run(tmp_path, 1, dtype="bfloat16"), []
    run.network.register_forward_hook(lambda *hook: seen.append(hook[2].dtype))
    run.go()
    assert set(seen) == {torch.bfloat16}


def test_gradients_are_clipped_before_the_step(tmp_path: Path) -> None:
    run = Run(tmp_path, 1)
    h.ClipGradients(1e-3).attach(run.trainer)
    run.go()
    norm = torch.cat([p.grad.flatten() for p in run.network.parameters() if p.grad is not None]).norm()
    assert norm <= 1.001e-3


def test_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, 1)
    torch.nn.init.constant_(run.network.weight, float("nan"))
    with pytest.raises(FloatingPointError, match="loss must be finite"):
        run.go()


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="amp_dtype"):
        it.Precision("int8")


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size: real half-written files, as on a disk without space."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("n_bytes", "name"), [(60, "log.csv"), (1500, "model_epoch003")])
def test_full_disk_is_one_clear_error_and_the_run_goes_on_later(
    tmp_path: Path, n_bytes: int, name: str
) -> None:
    whole = Run(tmp_path / "whole", 4).go()
    folder = tmp_path / "full"
    Run(folder, 2).go()
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    with full_disk(n_bytes), pytest.raises(OSError, match=rf"{name}.* must be writable.* free space"):
        Run(folder, 4).go()
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {key: left[key] for key in good if key != "log.csv"} == {
        key: value for key, value in good.items() if key != "log.csv"
    }
    assert set(left) == set(good)
    assert torch.equal(Run(folder, 4).go().network.weight, whole.network.weight)
    assert [row["epoch"] for row in h.read_epoch_log(folder / "log.csv")] == ["1", "2", "3", "4"]


def test_run_of_another_recipe_is_not_continued(tmp_path: Path) -> None:
    Run(tmp_path, 1, recipe={"lr": 0.05}).go()
    with pytest.raises(ValueError, match=r"lr: began with 0\.05, got 0\.1"):
        Run(tmp_path, 2, lr=0.1, recipe={"lr": 0.1}).go()
    assert len(h.read_epoch_log(tmp_path / "log.csv")) == 1


def test_fresh_run_does_not_mix_with_an_old_one(tmp_path: Path) -> None:
    Run(tmp_path, 1).go()
    run = Run(tmp_path, 2)
    h.Checkpoints(tmp_path, {"model": run.network}, run.evaluator, PROTOCOL, resume=False).attach(run.trainer)
    with pytest.raises(FileExistsError, match="must not hold a run yet"):
        run.go()


def test_validation_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, 1)
    run.evaluator.state.epoch = run.trainer.state.epoch
    run.evaluator.state.metrics[h.VALIDATION_LOSS] = float("nan")
    with pytest.raises(FloatingPointError, match="validation loss must be finite"):
        h.validation_loss(run.trainer, run.evaluator)


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    leftover = tmp_path / ".0123abcd.partial.last.pt"
    leftover.touch()
    Run(tmp_path, 1).go()
    assert not leftover.exists()


def test_float16_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must run on a CUDA device, got cpu"):
        Run(tmp_path, 1, dtype="float16").go()


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_trains_clips_and_continues_on_cuda(tmp_path: Path, dtype: str) -> None:
    cuda = torch.device("cuda")
    run, seen = Run(tmp_path, 3, dtype=dtype, device=cuda), []
    run.network.register_forward_hook(lambda *hook: seen.append(hook[2].dtype))
    h.ClipGradients(1e-3).attach(run.trainer)
    run.go()
    assert set(seen) == {getattr(torch, dtype)}
    gradients = torch.cat([p.grad.flatten() for p in run.network.parameters() if p.grad is not None])
    # Clipped after they were unscaled: a scaled gradient would be clipped to almost nothing.
    assert 0.9e-3 < gradients.norm() <= 1.001e-3
    update = load_checkpoint(tmp_path / "last.pt").states["update"]
    assert ("scale" in update) == (dtype == "float16")
    Run(tmp_path, 4, dtype=dtype, device=cuda).go()
    assert len(h.read_epoch_log(tmp_path / "log.csv")) == 4


@pytest.mark.cuda
def test_float16_skips_a_step_whose_gradients_overflow_and_lowers_the_scale(tmp_path: Path) -> None:
    run = Run(tmp_path, 1, dtype="float16", device=torch.device("cuda"))
    update = run.trainer._iteration
    update.load_state_dict({**update.state_dict(), "scale": 2.0**40})
    before = run.network.weight.clone()
    run.go()
    assert update.state_dict()["scale"] < 2.0**40
    assert torch.isfinite(run.network.weight).all()
    assert torch.equal(before, run.network.weight)
