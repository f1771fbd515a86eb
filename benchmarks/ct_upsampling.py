"""Upsampling 64^3 to 256^3: ours in bfloat16 against MONAI's sliding window in float32, time and memory.

    python benchmarks/ct_upsampling.py [--quick] [--threads N] [--heads coarse progressive]

Bargain: 1 minute on 2 idle cores (--quick, from 48^3: 20 s; both heads: 3 minutes). Each way runs in a
process of its own, so that its peak memory is its own; weights of chance, the same for all. The limit: the
network's convolutions, each voxel once, at the highest measured rate.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

import torch
from monai.inferers import sliding_window_inference
from pairs import Row, Seconds, compare, convolving, parser, show, timed
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from revoxel.core.compute import set_threads
from revoxel.ct.consistency import project_onto_coarse, round_within_blocks
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.upsampler.inference import UpsampleOptions, upsample
from revoxel.ct.upsampler.network import ResidualUpsampler3D

SIDE, QUICK_SIDE = 64, 48
Head = Literal["coarse", "progressive"]
WINDOW = HounsfieldWindow()


def coarse_volume(side: int) -> torch.Tensor:
    """Noise around water and air, in HU."""
    return -400 + 300 * torch.randn((1, 1, side, side, side), generator=torch.Generator().manual_seed(0))


def network_of(head: Head) -> ResidualUpsampler3D:
    """A network with weights of chance."""
    torch.manual_seed(0)
    return ResidualUpsampler3D(head=head, attention=False).eval()


def stock(network: ResidualUpsampler3D, coarse: torch.Tensor) -> torch.Tensor:
    """What a MONAI user would write first."""
    with torch.no_grad():
        fine = sliding_window_inference(
            WINDOW.normalise(coarse), 32, 1, lambda part: network(part)["pred"], overlap=0.25
        )
    return WINDOW.restore(fine)


def ours(network: ResidualUpsampler3D, coarse: torch.Tensor, *, mirrored: bool = False) -> torch.Tensor:
    """One pass of ours, as the stock way has one."""
    return upsample(network, coarse, window=WINDOW, options=UpsampleOptions(mirrored=mirrored))


def whole_job(network: ResidualUpsampler3D, coarse: torch.Tensor) -> torch.Tensor:
    """The default of the bundle: eight mirror images, projection, rounding."""
    return round_within_blocks(
        project_onto_coarse(ours(network, coarse, mirrored=True), coarse, window=WINDOW)
    )


WAYS: dict[str, Callable[..., torch.Tensor]] = {
    "stock float32": stock,
    "ours": ours,
    "ours, 8 mirrors + projection": whole_job,
}


def measure(head: Head, way: str, side: int, threads: int) -> tuple[Seconds, float]:
    """Seconds and gigabytes of one way, after a small volume that does not count."""
    set_threads(threads)
    network, coarse = network_of(head), coarse_volume(side)
    WAYS[way](network, coarse[..., :16, :16, :16].contiguous())
    seconds = timed(lambda: WAYS[way](network, coarse))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def rows_of(head: Head, side: int, threads: int) -> list[Row]:
    """All ways of one head, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = {}
    for way in WAYS:
        with ProcessPoolExecutor(1, context) as process:
            results[way], gigabytes = process.submit(measure, head, way, side, threads).result()
        Console().print(f"{head} head, {way}: {gigabytes:.2f} GB at most", highlight=False)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network_of(head)(coarse_volume(16))
    limit = convolving(counter.get_total_flops() * (side / 16) ** 3), "peak convolution rate"
    stock = [results["stock float32"]]
    return [
        compare(f"CT {side}^3 to {4 * side}^3, {head} head, {way}", [seconds], stock, limit, processor=False)
        for way, seconds in results.items()
        if way != "stock float32"
    ]


def main() -> None:
    """Print seconds, memory and ratio."""
    arguments = parser(__doc__)
    arguments.add_argument("--heads", nargs="+", default=["coarse"], choices=["coarse", "progressive"])
    options = arguments.parse_args()
    n_threads = set_threads(options.threads)
    side = QUICK_SIDE if options.quick else SIDE
    rows = [row for head in options.heads for row in rows_of(head, side, n_threads)]
    show(rows, f"CT upsampling, {n_threads} threads", options.rows)


if __name__ == "__main__":
    main()
