"""Many voxels in parts: memory stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

#: Voxels at a time; fewer would spend more time between operations than in them.
CHUNK = 32768

Part = TypeVar("Part")


def map_chunks(function: Callable[[Part], dict[str, Tensor]], parts: list[Part]) -> dict[str, Tensor]:
    """Compute parts one by one on one thread and join what comes out.

    Args:
        function: Columns by name of one part.
        parts: One or more parts.

    Returns:
        Columns by name of all parts, in order.
    """
    n_threads = torch.get_num_threads()
    # Threads in operations this small wait for each other more than they compute, a hundredfold where other
    # programs use the cores too; threads that take a part each were no faster either.
    torch.set_num_threads(1)
    try:
        columns = [function(part) for part in parts]
    finally:
        torch.set_num_threads(n_threads)
    return {name: torch.cat([column[name] for column in columns]) for name in columns[0]}
