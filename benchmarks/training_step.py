"""Training step of the gate: the package's way against plain float32 loops, and their loss curves.

    python benchmarks/training_step.py [--quick] [--threads N] [--side 64] [--curves 200]

Bargain: 3 minutes on 2 idle cores (--quick: 1 minute; --curves adds 2 x 200 steps at a quarter of the side).
One step = forward, full loss, backward, clipping and Adam, batch 2 of 64^3, wf=24. "stock" is float32,
contiguous, with MONAI's SSIMLoss; "own loss" differs from it by the package's SSIM only. Each way runs in a
process of its own, because the package's way changes how the process keeps memory; the ways take turns.
The limit: the convolutions of the step at the highest measured rate of a convolution.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import cast

import torch
from monai.losses import SSIMLoss
from pairs import Seconds, compare, convolving, in_turns, parser, show, timed
from rich.console import Console
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from revoxel.core.compute import keep_memory, set_threads
from revoxel.core.iterations import Precision
from revoxel.core.training import place
from revoxel.sagnef import SAGNEF, LossConfig, SAGNEFLoss

BATCH, N_EXPERTS, CLIP_NORM = 2, 4, 1.0
WAYS = ("stock", "own loss", "revoxel")
LAST_STEPS = 50
_steps: dict[str, Callable[[int], float]] = {}


class StockLoss(torch.nn.Module):
    """The seed's loss with the SSIM of MONAI."""

    def __init__(self) -> None:
        super().__init__()
        self.rest, self.ssim = SAGNEFLoss(LossConfig(w_ssim=0)), SSIMLoss(3, win_size=7)
        self.w_ssim = LossConfig().w_ssim

    def forward(self, fused: Tensor, truth: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Total of all parts."""
        total = self.rest(fused, truth, weights)["total"] + self.w_ssim * self.ssim(fused, truth)
        return {"total": total}


def batch(side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth truth, four blurred and noisy stand-ins for experts, the first of them twice."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((BATCH, 1, *[side // 4] * 3), generator=generator)
    truth = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="trilinear")
    blurred = [torch.nn.functional.avg_pool3d(truth, k, 1, k // 2) for k in (7, 5, 3, 5)]
    noise = 0.02 * torch.randn((BATCH, N_EXPERTS, *truth.shape[2:]), generator=generator)
    experts = torch.cat(blurred, dim=1) + noise
    return torch.cat([experts[:, :1], experts], dim=1), truth


def make_step(way: str, side: int, wf: int, seed: int) -> Callable[[int], float]:
    """One step of a way; its argument chooses the batch, its result is the loss."""
    torch.manual_seed(seed)
    own = way == "revoxel"
    precision = Precision("auto" if own else "float32", channels_last=own)
    if own:
        keep_memory()
    device = torch.device("cpu")
    gate = place(SAGNEF(N_EXPERTS + 1, N_EXPERTS, wf), device, precision).train()
    loss = StockLoss() if way == "stock" else SAGNEFLoss()
    optimizer = torch.optim.Adam(gate.parameters(), lr=1e-3)

    def step(index: int) -> float:
        image, truth = batch(side, index)
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast(device):
            fused, weights = gate(precision.layout(image))
            total = loss(fused, truth, weights)["total"]
        total.backward()
        torch.nn.utils.clip_grad_norm_(gate.parameters(), CLIP_NORM)
        optimizer.step()
        return float(total.detach())

    return step


def prepare(way: str, side: int, threads: int | None) -> None:
    """Set a process up for one way."""
    set_threads(threads)
    _steps[way] = make_step(way, side, 24, seed=0)


def timed_step(way: str) -> Seconds:
    """One step in a prepared process."""
    return timed(partial(_steps[way], 0))


def loss_curve(way: str, side: int, n_steps: int, seed: int) -> list[float]:
    """Losses of a training on new batches, the same for every way."""
    step = make_step(way, side, 8, seed)
    return [step(index) for index in range(n_steps)]


def operations(side: int) -> int:
    """Operations of the convolutions of one step."""
    gate, image = SAGNEF(N_EXPERTS + 1, N_EXPERTS, 24), batch(16, 0)[0]
    counter = FlopCounterMode(display=False)
    with counter:
        fused, weights = gate(image)
        (fused.sum() + weights.sum()).backward()
    return counter.get_total_flops() * (side // 16) ** 3


def curves_line(side: int, n_steps: int) -> str:
    """How far the losses of two ways lie apart at the end, beside two starts of the same way."""
    means = [
        statistics.mean(loss_curve(way, side, n_steps, seed)[-LAST_STEPS:])
        for way, seed in (("stock", 0), ("revoxel", 0), ("stock", 1))
    ]
    return (
        f"mean loss of the last {LAST_STEPS} of {n_steps} steps, {side}^3, wf=8: stock {means[0]:.5f}, "
        f"revoxel {means[1]:.5f}, stock from another start {means[2]:.5f}"
    )


def measure(side: int, threads: int | None, n_turns: int) -> dict[str, list[Seconds]]:
    """Steps of all ways in turns, each in its process."""
    context = multiprocessing.get_context("spawn")
    pools = {
        way: ProcessPoolExecutor(1, context, initializer=prepare, initargs=(way, side, threads))
        for way in WAYS
    }
    ways = {way: partial(cast("Callable[..., Seconds]", _ask), pool, way) for way, pool in pools.items()}
    seconds = in_turns(ways, n_turns)
    for pool in pools.values():
        pool.shutdown()
    return seconds


def _ask(pool: ProcessPoolExecutor, way: str) -> Seconds:
    return pool.submit(timed_step, way).result()


def main() -> None:
    """Print the rows, and how the losses fall."""
    arguments = parser(__doc__)
    arguments.add_argument("--side", type=int, default=64, help="side of a patch, a multiple of 16")
    arguments.add_argument("--curves", type=int, default=0, help="steps of the loss curves")
    options = arguments.parse_args()
    n_threads = set_threads(options.threads)
    limit = (convolving(operations(options.side)), "peak convolution rate")
    seconds = measure(options.side, options.threads, 2 if options.quick else 5)
    rows = [
        compare(f"step against {way}", seconds["revoxel"], seconds[way], limit, processor=processor)
        for way in WAYS[:2]
        for processor in (False, True)
    ]
    show(rows, f"batch {BATCH} of {options.side}^3, wf=24, {n_threads} threads", options.rows)
    if options.curves:
        Console().print(curves_line(options.side // 4, options.curves))


if __name__ == "__main__":
    main()
