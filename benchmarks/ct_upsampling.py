"""Upsampling 64^3 to 256^3: ours in bfloat16 against MONAI's sliding window in float32, time and memory.

    OMP_NUM_THREADS=2 python benchmarks/ct_upsampling.py [--heads coarse]

Bargain: 3 minutes on 2 idle cores (--heads coarse: 1 minute). Each way runs in a process of its own, so that
its peak memory is its own; weights of chance, the same for all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import torch
from monai.inferers import sliding_window_inference

from revoxel.ct.consistency import project_onto_coarse, round_within_blocks
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.upsampler.inference import UpsampleOptions, upsample
from revoxel.ct.upsampler.network import ResidualUpsampler3D

SIDE = 64
WINDOW = HounsfieldWindow()


def coarse_volume() -> torch.Tensor:
    """Noise around water and air, in HU."""
    return -400 + 300 * torch.randn((1, 1, SIDE, SIDE, SIDE), generator=torch.Generator().manual_seed(0))


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


def measure(head: str, way: str, queue: multiprocessing.Queue) -> None:
    """Seconds and gigabytes of one way, in a process of its own."""
    torch.manual_seed(0)
    network = ResidualUpsampler3D(head=head, attention=False).eval()
    coarse = coarse_volume()
    WAYS[way](network, coarse[..., :16, :16, :16].contiguous())
    start, start_cpu = time.perf_counter(), time.process_time()
    WAYS[way](network, coarse)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    queue.put((seconds, cpu_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def main() -> None:
    """Print seconds, memory and ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", nargs="+", default=["coarse", "progressive"])
    context = multiprocessing.get_context("spawn")
    print(f"{torch.get_num_threads()} threads, 64^3 to 256^3: seconds, processor seconds, memory, ratio")
    for head in parser.parse_args().heads:
        first = None
        for way in WAYS:
            queue = context.Queue()
            process = context.Process(target=measure, args=(head, way, queue))
            process.start()
            seconds, cpu_seconds, gigabytes = queue.get()
            process.join()
            first = first or cpu_seconds
            figures = (
                f"{seconds:7.1f} s  {cpu_seconds:7.1f} s  {gigabytes:5.2f} GB  {first / cpu_seconds:5.1f} x"
            )
            print(f"{head:12s} {way:28s} {figures}", flush=True)


if __name__ == "__main__":
    main()
