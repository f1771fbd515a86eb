"""Ways to go: along what a head reads as one feature, and along the most active numbers of the residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from revoxel.semivae.network.partition import RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from revoxel.semivae.network.models import SemiVaeModel

    Numbers = NDArray[np.float64]

_SHOWN_REGION = "wt."
#: A direction that a head barely reads would need a step that leaves the latent space.
_LEAST_SINGULAR = 1e-3


@dataclass(frozen=True, eq=False)
class Direction:
    """One way to go from a latent.

    Args:
        name: Of the feature, or `residual-<number>`.
        step: `(latent,)` for one standard deviation over the training patients.
        feature: Column among the targets, if it is a feature.
    """

    name: str
    step: Numbers
    feature: int | None = None


def directions(
    model: SemiVaeModel, mu: Numbers, features: Sequence[str] | None = None, n_residual: int = 3
) -> list[Direction]:
    """All ways to go from one latent.

    Args:
        model: The network.
        mu: `(latent,)` where to start.
        features: Which; by default those of the whole tumour.
        n_residual: How many numbers of the residual.

    Returns:
        Features in the partition's order, then numbers of the residual, the most active first.

    Raises:
        ValueError: If a feature is unknown.
    """
    known = model.partition.features
    chosen = [name for name in known if name.startswith(_SHOWN_REGION)] if features is None else features
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        msg = f"features must be among {', '.join(known)}, got {', '.join(unknown)}; choose some of them."
        raise ValueError(msg)
    steps = feature_steps(model, mu)
    ways = [Direction(name, steps[at], at) for at, name in enumerate(known) if name in chosen]
    return [*ways, *_residual_directions(model, n_residual)]


def feature_steps(model: SemiVaeModel, mu: Numbers) -> Numbers:
    """Shortest change of each feature's part that moves this feature by 1 and the others of the part by 0.

    The pseudo-inverse of the head's Jacobian, exact for linear heads.

    Args:
        model: The network.
        mu: `(latent,)` where the Jacobian is taken.

    Returns:
        `(feature, latent)`, one standard deviation of each feature over the training patients.
    """
    network, partition = model.network, model.partition
    like = next(network.parameters())
    start = torch.as_tensor(mu, dtype=torch.float32, device=like.device)

    def read(latent: torch.Tensor) -> torch.Tensor:
        predicted = network.predict(latent[None])
        return torch.cat([predicted[part.name] for part in partition.supervised], dim=1)[0]

    jacobian = torch.func.jacrev(read)(start).detach().double().cpu().numpy()
    steps = np.zeros_like(jacobian)
    for name, rows in partition.feature_slices.items():
        part = partition.slices[name]
        steps[rows, part] = np.linalg.pinv(jacobian[rows, part], rcond=_LEAST_SINGULAR).T
    return steps


def _residual_directions(model: SemiVaeModel, n_residual: int) -> list[Direction]:
    """Numbers of the residual that vary most over the training patients, each by a standard deviation."""
    if RESIDUAL not in model.partition.slices or not n_residual:
        return []
    part = model.partition.slices[RESIDUAL]
    spread = np.ones(model.partition.z_dim) if model.bank is None else np.sqrt(np.diag(model.bank.covariance))
    order = np.argsort(-spread[part], kind="stable")[:n_residual]
    unit = np.eye(model.partition.z_dim)
    return [
        Direction(f"{RESIDUAL}-{at}", spread[part.start + at] * unit[part.start + at])
        for at in order.tolist()
    ]
