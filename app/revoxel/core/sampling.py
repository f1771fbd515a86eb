"""The order in which a data set without end is drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DistributedSampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data import Dataset


class EpochSampler(DistributedSampler[Any]):
    """Indices that tell a data set the epoch, worker processes included: `epoch * len(dataset) + place`.

    Args:
        dataset: whose items are drawn, in shares where several processes train.
        seed: of the order.
    """

    def __init__(self, dataset: Dataset[Any], seed: int = 0) -> None:
        running = torch.distributed.is_available() and torch.distributed.is_initialized()
        super().__init__(
            dataset,
            num_replicas=torch.distributed.get_world_size() if running else 1,
            rank=torch.distributed.get_rank() if running else 0,
            seed=seed,
        )

    def __iter__(self) -> Iterator[int]:
        """Places in a new order every epoch."""
        first = self.epoch * len(self.dataset)  # type: ignore[arg-type]
        return (first + int(index) for index in super().__iter__())
