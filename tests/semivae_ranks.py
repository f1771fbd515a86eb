"""Gradients of losses in two processes, averaged as DistributedDataParallel does, and in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch import distributed as dist

from revoxel.semivae.network.partition import LatentPartition, Part
from revoxel.semivae.objective.gather import all_gather_with_grad
from revoxel.semivae.objective.independence import IndependenceLoss
from revoxel.semivae.objective.kl import PartitionKL
from revoxel.semivae.objective.likelihood import CalibratedGaussianNLL
from revoxel.semivae.objective.mmd import AggregateMMD
from revoxel.semivae.objective.total_correlation import TotalCorrelation

PARTITION = LatentPartition((Part("vol", 3, ("wt.log_volume",)), Part("residual", 5)))
N_STEPS, N_ROWS, N_INPUTS, WORLD = 2, 12, 7, 2

Latents = tuple[Tensor, Tensor]
Case = Callable[[], Callable[[Latents], Tensor]]


def _independence(kind: str) -> Case:
    def make() -> Callable[[Latents], Tensor]:
        loss = IndependenceLoss(PARTITION, kind, queue=16)
        return lambda latents: loss(*latents)[0]

    return make


def _floored_kl() -> Callable[[Latents], Tensor]:
    # Between the KL of the two halves of the batch: one process alone would be below its floor.
    loss = PartitionKL(PARTITION, free_bits={"vol": 2.0})
    return lambda latents: loss(*latents)[0]


def _likelihood() -> Callable[[Latents], Tensor]:
    loss = CalibratedGaussianNLL(PARTITION.z_dim)
    return lambda latents: loss(latents[0][..., None], latents[1][..., None])[0]


def _pairwise() -> Callable[[Latents], Tensor]:
    def loss(latents: Latents) -> Tensor:
        rows = all_gather_with_grad(latents[0])
        return (rows @ rows.T).tanh().sum()

    return loss


def _naive_pairwise() -> Callable[[Latents], Tensor]:
    """The own slice of an all-gather alone carries a gradient."""

    def loss(latents: Latents) -> Tensor:
        rows = latents[0]
        if dist.is_initialized():
            parts = [torch.empty_like(rows) for _ in range(WORLD)]
            dist.all_gather(parts, rows.detach())
            parts[dist.get_rank()] = rows
            rows = torch.cat(parts)
        return (rows @ rows.T).tanh().sum()

    return loss


CASES: dict[str, Case] = {
    "pairwise": _pairwise,
    "naive": _naive_pairwise,
    "dcor": _independence("dcor"),
    "hsic": _independence("hsic"),
    "dip": _independence("dip"),
    "floored_kl": _floored_kl,
    "likelihood": _likelihood,
    "mmd": lambda: lambda latents: AggregateMMD()(latents[0]),
    "total_correlation": lambda: lambda latents: TotalCorrelation(PARTITION, 100)(latents[0], *latents)[0],
}


def gradients(case: str) -> list[Tensor]:
    """Gradient of a linear encoder in each step; over all rows, or over this process's share, averaged."""
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(N_INPUTS, 2 * PARTITION.z_dim, generator=generator, dtype=torch.float64) / 3
    encoder.requires_grad_()
    loss = CASES[case]()
    found = []
    for step in range(N_STEPS):
        rows = torch.randn(N_ROWS, N_INPUTS, generator=generator, dtype=torch.float64)
        rows[: N_ROWS // WORLD] *= 1.5
        if dist.is_initialized():
            rows = rows.chunk(WORLD)[dist.get_rank()]
        torch.manual_seed(step)
        value = loss((rows @ encoder).chunk(2, dim=1))
        (gradient,) = torch.autograd.grad(value, encoder)
        if dist.is_initialized():
            dist.all_reduce(gradient)
            gradient /= WORLD
        found.append(gradient)
    return found


def run_rank(rank: int, folder: str) -> None:
    """Body of one of the processes: every case, then batches of unequal size."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD)
    found = {case: gradients(case) for case in CASES}
    try:
        all_gather_with_grad(torch.zeros(2 + rank, 1))
    except ValueError as error:
        refusal = str(error)
    torch.save((found, refusal), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
