"""SSIM loss: the separable one against MONAI's, forward and backward at the size of a training patch.

    python benchmarks/ssim.py [--quick]

Bargain: 20 s on 2 cores (--quick: 5 s). Expect a ratio far above 10 on a CPU and a difference below 1e-5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from monai.losses import SSIMLoss
from rich.console import Console
from torch import Tensor

from revoxel.core.compute import set_threads
from revoxel.core.ssim import mean_ssim

SIDE_VOXELS = 64


def seconds_per_step(
    loss: Callable[[Tensor, Tensor], Tensor], volumes: tuple[Tensor, Tensor], n_steps: int
) -> float:
    """Median time of one forward and backward pass, after one that does not count."""
    seconds = []
    for _ in range(n_steps + 1):
        start = time.perf_counter()
        loss(*volumes).backward()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[n_steps // 2]


def main() -> None:
    """Print seconds, ratio and difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    n_steps = 3 if parser.parse_args().quick else 15
    n_threads = set_threads()
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, SIDE_VOXELS, SIDE_VOXELS, SIDE_VOXELS)
    truth = torch.rand(shape, generator=generator)
    prediction = (truth + 0.1 * torch.randn(shape, generator=generator)).requires_grad_()
    monai_loss = SSIMLoss(spatial_dims=3, win_size=7)

    def own_loss(first: Tensor, second: Tensor) -> Tensor:
        return 1 - mean_ssim(first, second)

    difference = float((own_loss(prediction, truth) - monai_loss(prediction, truth)).abs().detach())
    own = seconds_per_step(own_loss, (prediction, truth), n_steps)
    stock = seconds_per_step(monai_loss, (prediction, truth), n_steps)
    Console().print(
        f"SSIM loss, forward + backward, {SIDE_VOXELS}^3, {n_threads} threads\n"
        f"  MONAI SSIMLoss   {stock * 1e3:8.1f} ms\n"
        f"  revoxel          {own * 1e3:8.1f} ms\n"
        f"  ratio            {stock / own:8.1f}\n"
        f"  difference       {difference:8.1e}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
