"""Training step of the gate: the package's way against plain float32 loops, and their loss curves.

    python benchmarks/training_step.py [--quick] [--threads N] [--side 64] [--parts] [--curves 200]

Bargain: 3 minutes on 2 idle cores (--quick: 1 minute; --parts adds half a minute; --curves adds 3 x 200
steps at half the side, 8 minutes).
One step = forward, full loss, backward, clipping and Adam, batch 2 of 64^3, wf=24. "stock" is float32,
contiguous, with MONAI's SSIMLoss; "own loss" differs from it by the package's SSIM only. Each way runs in a
process of its own, because the package's way changes how the process keeps memory; the ways take turns.
The limit: the convolutions of the step, counted as 27 multiplications per weight, at the highest measured
rate of a convolution; --parts tells what the convolutions of each way reach of it.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import cast

import torch
from monai.losses import SSIMLoss
from pairs import Row, Seconds, compare, convolving, in_turns, parser, show, timed
from rich.console import Console
from torch import Tensor
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from revoxel.core.compute import keep_memory, resolve_device, set_threads
from revoxel.core.iterations import Precision
from revoxel.core.training import place
from revoxel.sagnef import SAGNEF, LossConfig, SAGNEFLoss

BATCH, N_EXPERTS, CLIP_NORM = 2, 4, 1.0
WAYS = ("stock", "own loss", "revoxel")
PROCESSOR = torch.device("cpu")
# Only the package's way keeps its memory, and that takes some steps to settle; the others get new pages anew.
WARM_STEPS = {"stock": 1, "own loss": 1, "revoxel": 8}
WIDTH, LAST_STEPS = 24, 50
CONVOLUTIONS = ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::addmm", "aten::mm")
_steps: dict[str, Callable[[], float]] = {}


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


def make_step(way: str, seed: int, device: torch.device = PROCESSOR) -> Callable[[Tensor, Tensor], float]:
    """One step of a way from a batch on the device to its loss."""
    torch.manual_seed(seed)
    own = way == "revoxel"
    precision = Precision("auto" if own else "float32", channels_last=own)
    if own and device.type == "cpu":
        keep_memory()
    gate = place(SAGNEF(N_EXPERTS + 1, N_EXPERTS, WIDTH), device, precision).train()
    loss = StockLoss() if way == "stock" else SAGNEFLoss()
    optimizer = torch.optim.Adam(gate.parameters(), lr=1e-3)

    def step(image: Tensor, truth: Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast(device):
            fused, weights = gate(precision.layout(image))
            total = loss(fused, truth, weights)["total"]
        total.backward()
        torch.nn.utils.clip_grad_norm_(gate.parameters(), CLIP_NORM)
        optimizer.step()
        return float(total.detach())

    return step


def prepare(way: str, side: int, threads: int | None, device_name: str) -> None:
    """Set a process up for one way, until it has the memory that its steps need."""
    set_threads(threads)
    device = resolve_device(device_name)
    # A batch takes as long to make as some layers.
    step = _steps[way] = partial(make_step(way, 0, device), *(part.to(device) for part in batch(side, 0)))
    for _ in range(WARM_STEPS[way]):
        step()


def timed_step(way: str) -> Seconds:
    """One step in a prepared process."""
    return timed(_steps[way])


def seconds_of_convolutions(way: str) -> float:
    """What a step spends in convolutions, and in the matrix products that stand for some."""
    with profile() as trace:
        _steps[way]()
    return sum(part.self_cpu_time_total for part in trace.key_averages() if part.key in CONVOLUTIONS) / 1e6


def loss_curve(way: str, side: int, n_steps: int, seed: int) -> list[float]:
    """Losses of a training on new batches, the same for every way."""
    step = make_step(way, seed)
    return [step(*batch(side, index)) for index in range(n_steps)]


def operations(side: int) -> int:
    """Operations of the convolutions of one step."""
    gate, image = SAGNEF(N_EXPERTS + 1, N_EXPERTS, WIDTH), batch(16, 0)[0]
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
        f"mean loss of the last {LAST_STEPS} of {n_steps} steps, {side}^3, wf={WIDTH}: stock {means[0]:.5f}, "
        f"revoxel {means[1]:.5f}, stock from another start {means[2]:.5f}"
    )


def measure(pools: Mapping[str, ProcessPoolExecutor], n_turns: int, limit: tuple[Seconds, str]) -> list[Row]:
    """Steps of all ways in turns, each in its process."""
    ways = {
        way: cast("Callable[[], Seconds]", partial(_ask, pool, timed_step, way))
        for way, pool in pools.items()
    }
    seconds = in_turns(ways, n_turns, n_warm=0)
    return [
        compare(f"step against {way}", seconds["revoxel"], seconds[way], limit, processor=processor)
        for way in WAYS[:2]
        for processor in (False, True)
    ]


def parts_line(pools: Mapping[str, ProcessPoolExecutor], n_operations: float) -> str:
    """Rates that the convolutions of every way reach."""
    seconds = {way: cast("float", _ask(pool, seconds_of_convolutions, way)) for way, pool in pools.items()}
    rates = (f"{way} {s:.2f} s, {n_operations / s / 1e9:.0f} GFLOP/s" for way, s in seconds.items())
    return "convolutions of a step: " + "; ".join(rates)


def _ask(pool: ProcessPoolExecutor, question: Callable[[str], object], way: str) -> object:
    return pool.submit(question, way).result()


def main() -> None:
    """Print the rows, and how the losses fall."""
    arguments = parser(__doc__, gpu=True)
    arguments.add_argument("--side", type=int, default=64, help="side of a patch, a multiple of 16")
    arguments.add_argument(
        "--parts", action="store_true", help="rates of the convolutions of every way, on a processor"
    )
    arguments.add_argument("--curves", type=int, default=0, help="steps of the loss curves")
    options = arguments.parse_args()
    n_threads, n_operations = set_threads(options.threads), operations(options.side)
    limit = convolving(n_operations, options.device), "peak convolution rate"
    context, settings = multiprocessing.get_context("spawn"), (options.side, options.threads, options.device)
    with ExitStack() as stack:
        pools = {
            way: stack.enter_context(
                ProcessPoolExecutor(1, context, initializer=prepare, initargs=(way, *settings))
            )
            for way in WAYS
        }
        rows = measure(pools, 2 if options.quick else 5, limit)
        show(rows, f"batch {BATCH} of {options.side}^3, wf={WIDTH}, {n_threads} threads", options.rows)
        if options.parts:
            Console().print(parts_line(pools, n_operations))
    if options.curves:
        Console().print(curves_line(options.side // 2, options.curves))


if __name__ == "__main__":
    main()
