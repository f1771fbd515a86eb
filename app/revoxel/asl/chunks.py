"""Many voxels in parts: memory stays small, and every core gets its own part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

#: Voxels at a time; fewer would spend more time between operations than in them.
CHUNK = 32768

Part = TypeVar("Part")


def map_chunks(function: Callable[[Part], dict[str, Tensor]], parts: list[Part]) -> dict[str, Tensor]:
    """Compute parts side by side, each on one thread, and join what comes out.

    Args:
        function: Columns by name of one part.
        parts: One or more parts.

    Returns:
        Columns by name of all parts, in order.
    """
    n_threads = torch.get_num_threads()
    # Threads inside operations this small wait for each other more than they compute, most of all where other
    # programs use the cores too.
    torch.set_num_threads(1)
    try:
        if n_threads == 1 or len(parts) == 1:
            columns = [function(part) for part in parts]
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                columns = list(pool.map(function, parts))
    finally:
        torch.set_num_threads(n_threads)
    return {name: torch.cat([column[name] for column in columns]) for name in columns[0]}
