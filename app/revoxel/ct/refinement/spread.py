"""How much a network's answer depends on which way the patient lies: model spread, which is no error.

A network that answers alike can be wrong alike. The spread shows where it guesses, not how far it is off.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from revoxel.ct.refinement.methods import Chosen, Given
    from revoxel.ct.refinement.steps import Result

_AXES = (0, 1, 2)


def refuse_spread(chosen: Chosen, given: Given) -> None:
    """Say where there is no model spread.

    Args:
        chosen: The method.
        given: What is refined.

    Raises:
        ValueError: If the method is interpolation, or views tell which way the patient lies.
    """
    if chosen.trained_on_mm is None or given.views is not None:
        why = "interpolation" if chosen.trained_on_mm is None else "X-ray views"
        msg = f"model spread must come from a network without X-ray views, got {why}; leave it out."
        raise ValueError(msg)


def model_spread(
    chosen: Chosen, given: Given, result: Result, progress: Callable[[float], None]
) -> NDArray[np.float32]:
    """Standard deviation of the result over the scan and its mirror images along each axis.

    Args:
        chosen: The method.
        given: What was refined.
        result: What came of it.
        progress: Called with the share done.

    Returns:
        `(x, y, z)` in HU.
    """
    mean = result.refined.astype(np.float32)
    squares = np.zeros_like(mean)
    for count, axis in enumerate(_AXES, start=2):
        mirrored = replace(given, coarse_hu=np.flip(given.coarse_hu, axis).copy(), progress=None)
        # Welford's recurrence: two volumes in memory, whatever the number of mirrors.
        step = np.flip(chosen.make(mirrored).refined, axis) - mean
        mean += step / count
        squares += step * (step - step / count)
        progress((count - 1) / len(_AXES))
    spread: NDArray[np.float32] = np.sqrt(squares / len(_AXES))
    return spread
