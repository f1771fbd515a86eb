"""A training's length in epochs or in seconds of computing, and the learning rate along it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Events

if TYPE_CHECKING:
    from ignite.engine import Engine

_WARM_UP = 0.02
_LAST_SHARE = 0.01


class Budget:
    """Steer the learning rate and end a training when its budget is spent.

    The rate rises over the first 2 % and falls to 1 % along a cosine. Seconds are those that the processor
    worked for this process, per thread, so that other jobs on the machine change nothing; on an idle machine
    and on a GPU they are seconds of the clock. Goes after validation and before `EpochLog` in the handlers.

    Args:
        optimizer: whose rate is steered.
        evaluator: validates the last epoch.
        seconds: budget; 0 trains for as many epochs as the trainer says.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, evaluator: Any, seconds: float = 0.0) -> None:
        self.optimizer, self.evaluator, self.seconds = optimizer, evaluator, seconds
        self.rate = float(optimizer.param_groups[0]["lr"])
        self.spent_s = 0.0
        self._mark_s = 0.0

    def attach(self, engine: Engine) -> None:
        """Steer this trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._keep_finished)
        engine.add_event_handler(Events.ITERATION_STARTED, self._steer)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def progress(self, engine: Engine) -> float:
        """Share of the budget that is spent."""
        if self.seconds:
            return min(1.0, self.spent_s / self.seconds)
        total = (engine.state.max_epochs or 1) * (engine.state.epoch_length or 1)
        return min(1.0, engine.state.iteration / total)

    def _start(self, engine: Engine) -> None:
        self._mark_s = self._clock(engine)

    def _keep_finished(self, engine: Engine) -> None:
        """A run that is continued after its end stays as it is."""
        if self.seconds and self.spent_s >= self.seconds:
            engine.terminate()

    def _steer(self, engine: Engine) -> None:
        now = self._clock(engine)
        self.spent_s, self._mark_s = self.spent_s + now - self._mark_s, now
        done = self.progress(engine)
        share = min(1.0, done / _WARM_UP + 1e-3) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * max(_LAST_SHARE if done > _WARM_UP else 0.0, share)

    def __call__(self, engine: Engine) -> None:
        """End the training if the budget is spent."""
        if self.seconds and self.spent_s >= self.seconds:
            if self.evaluator.state.epoch != engine.state.epoch:
                self.evaluator.run(engine.state.epoch)
            engine.terminate()

    @staticmethod
    def _clock(engine: Any) -> float:
        if torch.device(engine.state.device).type == "cpu":
            return time.process_time() / torch.get_num_threads()
        return time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """How much is spent."""
        return {"spent_s": self.spent_s}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.spent_s = float(state["spent_s"])
