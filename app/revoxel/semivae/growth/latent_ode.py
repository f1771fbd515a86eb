"""Growth as an equation with a learned correction that may know where a tumour lies and what it looks like.

dy/dt = alpha (ln K - y) + eps f(y, z_loc, z_shape) with y = ln V: a Gompertz law in physical units, plus f, a
small network whose hidden layer is fixed, part of it drawn at random (Rahimi and Recht, NeurIPS 2008), and
whose output weights are learned: parameters of a mixed model like any other, with a prior that holds them.
y0 and alpha vary between patients; K and the weights are shared. The latents are those of the first visit and
stay as they are; the residual part is never read. torchdiffeq solves the equation together with its
derivatives by the parameters; each stretch between two visits of a patient is scaled to one unit of time, so
that all patients are integrated together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from revoxel.semivae.growth.curves import CAPACITY_RIM
from revoxel.semivae.growth.latents import LatentDirections
from revoxel.semivae.growth.mixed import Population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from revoxel.semivae.growth.records import GrowthRecord

_N_RANDOM_UNITS = 8
#: Longest step times the fastest rate: Runge-Kutta is then within 4e-5 of the closed form and, unlike
#: adaptive steps, smooth in the parameters, which the search for modes needs.
_STEP = 0.25
_MOST_STEPS = 64
_N_GOMPERTZ = 3


@dataclass(frozen=True, eq=False)
class Hidden:
    """Fixed hidden layer of the correction: random units of volume and latent, and the latent by itself.

    With v the standardised log volume and z the directions of the latent, the units are
    tanh(v volume + z @ directions + bias), z, and z tanh(v): a rate that depends on z needs the last two.

    Attributes:
        centre: Mean training log volume.
        spread: Its standard deviation.
        volume: `(random unit,)`.
        directions: `(direction, random unit)`.
        bias: `(random unit,)`.
    """

    centre: float
    spread: float
    volume: Tensor
    directions: Tensor
    bias: Tensor

    @classmethod
    def draw(cls, log_volumes: NDArray[np.float64], n_directions: int, seed: int) -> Hidden:
        """Draw the layer.

        Args:
            log_volumes: Of all training visits.
            n_directions: Of the latent.
            seed: Same seed, same layer.
        """
        rng = np.random.default_rng(seed)
        directions = rng.standard_normal((n_directions, _N_RANDOM_UNITS)) / np.sqrt(max(n_directions, 1))
        return cls(
            centre=float(log_volumes.mean()),
            spread=max(float(log_volumes.std()), 0.1),
            volume=torch.from_numpy(rng.standard_normal(_N_RANDOM_UNITS)),
            directions=torch.from_numpy(directions),
            bias=torch.from_numpy(rng.standard_normal(_N_RANDOM_UNITS)),
        )

    @property
    def n_units(self) -> int:
        """How many output weights there are."""
        return len(self.bias) + 2 * len(self.directions)

    def __call__(self, log_volume: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Answer of every unit.

        Args:
            log_volume: `(row, 1)`.
            latents: `(row, direction)`.

        Returns:
            `(row, unit)` and its derivative by the log volume.
        """
        scaled = (log_volume - self.centre) / self.spread
        random, bent = (
            torch.tanh(scaled * self.volume + latents @ self.directions + self.bias),
            torch.tanh(scaled),
        )
        units = torch.cat((random, latents, latents * bent), dim=1)
        random_slopes = (1 - random**2) * self.volume
        slopes = torch.cat((random_slopes, torch.zeros_like(latents), latents * (1 - bent**2)), dim=1)
        return units, slopes / self.spread


@dataclass(frozen=True, eq=False)
class LatentGrowthODE:
    """The equation as a growth curve of a mixed model.

    Attributes:
        floor: Largest training log volume; K stays above it.
        eps_per_year: Size of the correction; 0 leaves the Gompertz law.
        hidden: Of the correction.
        space: Directions of the latent that it reads.
        latents: `(row, direction)`, or one row for all.
    """

    floor: float
    eps_per_year: float
    hidden: Hidden
    space: LatentDirections
    latents: NDArray[np.float64]

    @classmethod
    def of(
        cls, records: Sequence[GrowthRecord], floor: float, eps_per_year: float, seed: int = 0
    ) -> LatentGrowthODE:
        """The equation for training patients.

        Args:
            records: The patients, in the order of the rows.
            floor: Largest log volume that any training patient has.
            eps_per_year: Size of the correction.
            seed: Of the hidden layer.

        Raises:
            ValueError: If eps is negative, latents differ in their parts, or torchdiffeq is missing.
        """
        _odeint()
        if not 0 <= eps_per_year < np.inf:
            msg = f"eps_per_year must be finite and not negative, got {eps_per_year}; 0 is no correction."
            raise ValueError(msg)
        space = LatentDirections.of(records)
        visits = np.concatenate([record.log_volumes for record in records])
        hidden = Hidden.draw(visits, space.n_directions, seed)
        latents = np.stack([space(record) for record in records])
        return cls(floor, eps_per_year, hidden, space, latents)

    @property
    def names(self) -> tuple[str, ...]:
        """First volume and rate vary between patients; capacity and weights are shared."""
        weights = (f"weight_{number}" for number in range(self.hidden.n_units))
        return ("log_v0", "rate", "capacity", *weights)

    @property
    def n_random(self) -> int:
        """How many vary between patients."""
        return 2

    @property
    def lowest(self) -> NDArray[np.float64]:
        """`(parameter,)` below which the mean over patients tells nothing."""
        return np.array([-CAPACITY_RIM if name == "capacity" else -np.inf for name in self.names])

    def of_patient(self, record: GrowthRecord) -> LatentGrowthODE:
        """The equation for one patient, K above the patient's visits too.

        Args:
            record: The patient.

        Raises:
            ValueError: If the latent has other parts than those of the training patients.
        """
        floor = max(self.floor, float(record.log_volumes.max()))
        return replace(self, floor=floor, latents=self.space(record)[None])

    def __call__(
        self, times_years: NDArray[np.float64], parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Solve for all rows at once.

        Args:
            times_years: `(row, time)` or `(time,)` since the first visit, rising; padding may fall back to 0.
            parameters: `(row, parameter)`: log V0; a and k with alpha = softplus(a) per year and ln K the
                floor plus a sharp softplus of k; output weights of the correction.

        Returns:
            `(row, time)` log volume and `(row, time, parameter)` derivatives.
        """
        odeint, theta = _odeint(), torch.from_numpy(parameters)
        times = np.broadcast_to(times_years, (len(parameters), np.shape(times_years)[-1]))
        stretches = torch.from_numpy(np.diff(times, axis=1, prepend=0.0).clip(0.0))
        state = torch.zeros(len(theta), 1 + theta.shape[1], dtype=torch.float64)
        state[:, 0], state[:, 1] = theta[:, 0], 1.0
        unit, states = torch.tensor([0.0, 1.0], dtype=torch.float64), []
        fastest = softplus(theta[:, 1]) + self.eps_per_year * theta[:, _N_GOMPERTZ:].norm(dim=1)
        for years in stretches.T:
            if years.any():
                pace = float((fastest * years).max()) / _STEP
                step = {"step_size": 1 / np.clip(np.ceil(pace), 1, _MOST_STEPS)}
                slope = self._slope(theta, years[:, None])
                state = odeint(slope, state, unit, method="rk4", options=step)[-1]
            states.append(state)
        solved = torch.stack(states, dim=1).numpy()
        return solved[..., 0], solved[..., 1:]

    def _slope(self, theta: Tensor, years: Tensor) -> Any:
        """Right-hand side of the log volume and of its derivatives by every parameter, per scaled time."""
        rate, above, weights = (
            softplus(theta[:, 1:2]),
            softplus(theta[:, 2:3], beta=1 / CAPACITY_RIM),
            theta[:, _N_GOMPERTZ:],
        )
        rate_slope, above_slope = torch.sigmoid(theta[:, 1:2]), torch.sigmoid(theta[:, 2:3] / CAPACITY_RIM)
        eps, latents = self.eps_per_year, torch.from_numpy(self.latents).expand(len(theta), -1)

        def slope(_: Tensor, state: Tensor) -> Tensor:
            log_volume, sensitivity = state[:, :1], state[:, 1:]
            gap = self.floor + above - log_volume
            units, bends = self.hidden(log_volume, latents)
            growth = rate * gap + eps * (units * weights).sum(dim=1, keepdim=True)
            down = -rate + eps * (bends * weights).sum(dim=1, keepdim=True)
            forced = torch.cat(
                (torch.zeros_like(gap), rate_slope * gap, rate * above_slope, eps * units), dim=1
            )
            return years * torch.cat((growth, down * sensitivity + forced), dim=1)

        return slope


def as_equation(gompertz: Population, curve: LatentGrowthODE) -> Population:
    """A population of the reduced Gompertz law, said in the parameters of the equation.

    Args:
        gompertz: The population.
        curve: The equation, with the same floor.

    Returns:
        The same growth; the correction is nothing.
    """
    mean = np.concatenate((gompertz.mean, np.zeros(curve.hidden.n_units)))
    rate_per_year = np.exp(gompertz.mean[1])
    mean[1] = rate_per_year + np.log(-np.expm1(-rate_per_year))  # inverse of softplus
    # d a / d ln alpha, so that the spread of alpha stays what it is.
    scale = np.array([1.0, rate_per_year / -np.expm1(-rate_per_year)])
    return Population(curve, mean, gompertz.covariance * np.outer(scale, scale), gompertz.noise_sd)


def _odeint() -> Any:
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        msg = "the latent growth equation must have torchdiffeq, got none; pip install 'revoxel[growth]'."
        raise ValueError(msg) from error
    return odeint
