"""Batches of all processes as one, so that a loss over pairs of samples is that of a single process.

Every process then computes the same loss from the same rows, and the mean of the processes' gradients, which
is what DistributedDataParallel forms, is the gradient of a single process with the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def all_gather_with_grad(rows: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks; the input itself without a process group.

    Args:
        rows: `(B, ...)`, the same shape in every process.

    Returns:
        `(world_size * B, ...)`; gradients of all processes' losses reach the rows of each.

    Raises:
        ValueError: If the processes hold different numbers of rows.
    """
    if not _many():
        return rows
    _check_equal(rows)
    return _Gathered.apply(rows)


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of a tensor over all processes, without gradient; the input itself without a process group.

    Args:
        values: The same shape in every process.
    """
    if not _many():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def _many() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _check_equal(rows: Tensor) -> None:
    # Unequal shapes would hang or mix up rows, which says nothing about why.
    extremes = torch.tensor([len(rows), -len(rows)], device=rows.device)
    dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
    most, least = int(extremes[0]), -int(extremes[1])
    if most != least:
        msg = f"batches of all processes must be of one size, got {least} to {most}; drop the last batch."
        raise ValueError(msg)


class _Gathered(torch.autograd.Function):
    """All-gather forward; sum over processes, then the own slice, backward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.n_rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.n_rows
        return total[start : start + ctx.n_rows]
