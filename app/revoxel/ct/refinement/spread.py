"""How much a network's answer depends on which way the patient lies: model spread, which is no error.

A network that answers alike can be wrong alike. The spread shows where it guesses, not how far it is off.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from revoxel.ct.refinement.methods import Chosen, Given
    from revoxel.ct.refinement.steps import Result

#: Mirrored along nothing, and along each axis.
_MIRRORS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,))


def single_answers(chosen: Chosen, given: Given) -> Callable[[Given], Result]:
    """The method as it answers for one way round.

    Args:
        chosen: The method.
        given: What is refined.

    Returns:
        From what is given to one answer.

    Raises:
        ValueError: If the method is interpolation, or views tell which way the patient lies.
    """
    if chosen.once is None or given.views is not None:
        why = "interpolation" if chosen.once is None else "X-ray views"
        msg = f"model spread must come from a network without X-ray views, got {why}; leave it out."
        raise ValueError(msg)
    return chosen.once


def model_spread(
    once: Callable[[Given], Result], given: Given, progress: Callable[[float], None]
) -> NDArray[np.float32]:
    """Standard deviation of single answers over the scan and its mirror images along each axis.

    Args:
        once: The method, without its own mean over mirror images.
        given: What is refined.
        progress: Called with the share done.

    Returns:
        `(x, y, z)` in HU.
    """
    mean: NDArray[Any] = np.zeros((), dtype=np.float32)
    squares: NDArray[Any] = mean
    for count, axes in enumerate(_MIRRORS, start=1):
        mirrored = replace(given, coarse_hu=np.flip(given.coarse_hu, axes).copy(), progress=None)
        # Welford's recurrence: two volumes in memory, whatever the number of mirrors.
        step = np.flip(once(mirrored).refined, axes).astype(np.float32) - mean
        mean = mean + step / count
        squares = squares + step * (step - step / count)
        progress(count / len(_MIRRORS))
    spread: NDArray[np.float32] = np.sqrt(squares / (len(_MIRRORS) - 1)).astype(np.float32)
    return spread
