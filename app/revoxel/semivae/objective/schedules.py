"""How the weight of a loss rises over a training: pure functions of where the training is.

Position, start and length are in one unit, such as epochs, or shares of the training from 0 to 1. A weight
is 0 before its start and at its target from `start + length` on; a length of 0 is a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["linear", "cosine", "exp_normalised", "cyclical"]
_STEEPNESS = 5.0


def linear(position: float, start: float, length: float, target: float = 1.0) -> float:
    """Rise on a straight line.

    Args:
        position: Where the training is.
        start: Where the rise begins.
        length: Of the rise.
        target: Weight at its end.
    """
    return target * _share(position, start, length)


def cosine(position: float, start: float, length: float, target: float = 1.0) -> float:
    r"""Rise smoothly at both ends: $\tfrac12 (1 - \cos \pi t)$.

    Args:
        position: Where the training is.
        start: Where the rise begins.
        length: Of the rise.
        target: Weight at its end.
    """
    return target * 0.5 * (1 - math.cos(math.pi * _share(position, start, length)))


def exp_normalised(position: float, start: float, length: float, target: float = 1.0) -> float:
    r"""Rise fast, then slowly: $(1 - e^{-5t}) / (1 - e^{-5})$, which starts at five times the linear slope.

    Args:
        position: Where the training is.
        start: Where the rise begins.
        length: Of the rise.
        target: Weight at its end.
    """
    share = _share(position, start, length)
    return target * math.expm1(-_STEEPNESS * share) / math.expm1(-_STEEPNESS)


def cyclical(
    position: float, start: float, length: float, target: float = 1.0, *, cycles: int = 4, ratio: float = 0.5
) -> float:
    """Rise anew in every cycle, then stay (Fu et al. 2019).

    Args:
        position: Where the training is.
        start: Where the first cycle begins.
        length: Of all cycles.
        target: Weight at the end of each rise.
        cycles: Their number.
        ratio: Share of a cycle in which the weight rises, above 0 and up to 1.
    """
    share = _share(position, start, length)
    if share >= 1:
        return target
    return target * min(1.0, (share * cycles % 1.0) / ratio)


@dataclass(frozen=True)
class Schedule:
    """Weight of a loss over a training, as a configuration states it.

    Args:
        shape: Of the rise.
        start: Where the rise begins.
        length: Of the rise.
        target: Weight at its end.
        cycles: Number of rises of a cyclical weight.
        ratio: Share of a cycle in which a cyclical weight rises.

    Raises:
        ValueError: If a value is impossible.
    """

    shape: Shape = "cosine"
    start: float = 0.0
    length: float = 0.0
    target: float = 1.0
    cycles: int = 4
    ratio: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        possible = self.start >= 0 and self.length >= 0 and self.target >= 0
        if (
            self.shape not in (*_RISES, "cyclical")
            or not possible
            or self.cycles < 1
            or not 0 < self.ratio <= 1
        ):
            msg = (
                f"schedule must have a shape among {', '.join(_RISES)}, cyclical, start, length and "
                f"target >= 0, cycles >= 1 and 0 < ratio <= 1, got {self}; correct the configuration."
            )
            raise ValueError(msg)

    def __call__(self, position: float) -> float:
        """Weight at a position.

        Args:
            position: Where the training is, in the unit of start and length.
        """
        if self.shape == "cyclical":
            return cyclical(
                position, self.start, self.length, self.target, cycles=self.cycles, ratio=self.ratio
            )
        return _RISES[self.shape](position, self.start, self.length, self.target)


_RISES = {"linear": linear, "cosine": cosine, "exp_normalised": exp_normalised}


def _share(position: float, start: float, length: float) -> float:
    """Share of the rise that is done."""
    if position < start:
        return 0.0
    return min(1.0, (position - start) / length) if length > 0 else 1.0
