r"""Steps of the encoder alone, so that it does not lag behind the decoder (He et al., ICLR 2019).

Before each step of all weights the encoder climbs the full evidence lower bound with the decoder held, until
the bound of the last batches no longer improves. That ends for good when a validation finds that the mutual
information $I(x; z) = E\,\mathrm{KL}(q(z|x) \| p) - \mathrm{KL}(q(z) \| p)$ has stopped rising.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import default_collate

from revoxel.core.handlers import DIAGNOSTICS

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.core.iterations import TrainingUpdate
    from revoxel.semivae.learning.bank import ScanBank
    from revoxel.semivae.learning.objective import SemiVaeObjective
    from revoxel.semivae.network.semivae import SemiVAE

#: Log name of what decides when the encoder has caught up.
MUTUAL_INFORMATION = "latent_diag/mutual_information"
#: Batches between two looks at whether the bound still improves.
_WINDOW = 10


class AggressiveEncoder:
    """A training iteration with steps of the encoder before it.

    Args:
        update: The iteration itself.
        network: Whose decoder is held meanwhile.
        objective: Has the evidence lower bound.
        bank: Scans of the training.
        evaluator: Its diagnostics tell the mutual information.
        n_steps: Most steps before each iteration; 0 takes none.

    Raises:
        ValueError: If there are to be steps in a training of several processes.
    """

    def __init__(
        self,
        update: TrainingUpdate,
        network: SemiVAE,
        objective: SemiVaeObjective,
        bank: ScanBank,
        evaluator: Any,
        n_steps: int = 0,
    ) -> None:
        running = torch.distributed.is_available() and torch.distributed.is_initialized()
        if n_steps and running and torch.distributed.get_world_size() > 1:
            msg = f"aggressive_steps must be 0 with several processes, got {n_steps}; train in one."
            raise ValueError(msg)
        self.update, self.network, self.objective, self.bank = update, network, objective, bank
        self.evaluator, self.n_steps = evaluator, n_steps
        self.most_nats, self.seen_epoch, self.caught_up = -float("inf"), 0, not n_steps

    def __call__(self, engine: Any, batch: Any) -> dict[str, Any]:
        """Let the encoder catch up, then train everything.

        Args:
            engine: The trainer.
            batch: Of its loader.

        Returns:
            Output of the iteration.
        """
        self._look_at_validation()
        if not self.caught_up:
            self._catch_up(engine, len(batch["image"]))
        return self.update(engine, batch)

    def state_dict(self) -> dict[str, Any]:
        """State of the iteration, and whether the encoder has caught up."""
        mine = {name: getattr(self, name) for name in ("most_nats", "seen_epoch", "caught_up")}
        return {"update": self.update.state_dict(), **mine}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.update.load_state_dict(state["update"])
        self.most_nats, self.seen_epoch = float(state["most_nats"]), int(state["seen_epoch"])
        self.caught_up = bool(state["caught_up"])

    def _look_at_validation(self) -> None:
        nats = self.evaluator.state.metrics.get(DIAGNOSTICS, {}).get(MUTUAL_INFORMATION)
        if self.caught_up or nats is None or self.evaluator.state.epoch == self.seen_epoch:
            return
        self.seen_epoch = self.evaluator.state.epoch
        self.caught_up = nats <= self.most_nats
        self.most_nats = max(self.most_nats, nats)

    def _catch_up(self, engine: Any, batch_size: int) -> None:
        rng = np.random.default_rng((self.bank.seed, engine.state.iteration))
        engine.network.train()
        before, window = float("inf"), []
        for step in range(1, self.n_steps + 1):
            places = rng.integers(0, len(self.bank), batch_size) + engine.state.iteration * len(self.bank)
            window.append(self._step(engine, default_collate([self.bank[int(place)] for place in places])))
            if step % _WINDOW == 0:
                now, window = float(np.mean(window)), []
                if now >= before:
                    return
                before = now

    def _step(self, engine: Any, batch: Any) -> float:
        """One step of everything but the decoder up the evidence lower bound."""
        image, truth, _, named = engine.prepare_batch(batch, engine.state.device, engine.non_blocking)
        precision = self.update.precision
        with precision.autocast(engine.state.device):
            prediction = engine.inferer(precision.layout(image), engine.network, **named)
            bound, _ = self.objective.elbo(prediction, truth, self.objective.weights["beta"])
        engine.optimizer.zero_grad(set_to_none=True)
        bound.backward()
        # A weight without a gradient is not touched, by decay neither.
        for weights in self.network.decoder.parameters():
            weights.grad = None
        engine.optimizer.step()
        return float(bound.detach())


def mutual_information(mu: Tensor, logvar: Tensor, seed: int = 0) -> float:
    """Nats that latents tell about which scan they are of; at most the logarithm of the number of scans.

    Args:
        mu: `(scan, latent)` means.
        logvar: `(scan, latent)` logarithms of the variances.
        seed: Of the draw from each posterior.

    Returns:
        Monte Carlo estimate of the mutual information of scan and latent.
    """
    noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mu, logvar = mu.double().cpu(), logvar.double().cpu()
    z = mu + noise * (0.5 * logvar).exp()
    # The constant of the normal density is in both terms.
    densities = -0.5 * (logvar + (z[:, None] - mu) ** 2 * (-logvar).exp()).sum(dim=2)
    log_marginal = torch.logsumexp(densities, dim=1) - np.log(len(mu))
    return float((densities.diagonal() - log_marginal).mean())
