"""SSIM: the separable one against MONAI's, as the loss of a training patch and as the metric of a volume.

    python benchmarks/ssim.py [--quick] [--threads N] [--device cpu]

Bargain: 20 s on 2 idle cores (--quick: 5 s). Expect ratios above 30 and a difference below 1e-5.
The limits: the fewest bytes that a step must move (each of the four fields that the window sweeps and of the
four that their adjoint sweeps, read once and written once), at the highest measured rate of a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from monai.losses import SSIMLoss
from monai.metrics import SSIMMetric
from pairs import compare, copying, in_turns, parser, show, timed
from rich.console import Console
from torch import Tensor

from revoxel.core.compute import resolve_device, set_threads
from revoxel.core.ssim import mean_ssim, volume_ssim_map

SIDE_VOXELS = 64
SHAPE, QUICK_SHAPE = (240, 240, 155), (96, 112, 80)
FIELDS_FORWARD, FIELDS_BACKWARD, BYTES = 4, 4, 4


def noisy_pair(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """A random truth and a prediction near it."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand((1, 1, *shape), generator=generator)
    return (truth + 0.1 * torch.randn(truth.shape, generator=generator)).to(device), truth.to(device)


def own_loss(first: Tensor, second: Tensor) -> Tensor:
    """`1 - SSIM` of the package."""
    return 1 - mean_ssim(first, second)


def main() -> None:
    """Print the rows and the difference."""
    options = parser(__doc__, gpu=True).parse_args()
    device, n_threads = resolve_device(options.device), set_threads(options.threads)
    shape = QUICK_SHAPE if options.quick else SHAPE
    patch, volume = noisy_pair((SIDE_VOXELS,) * 3, device), noisy_pair(shape, device)
    patch[0].requires_grad_()
    monai_loss, monai_metric = SSIMLoss(3, win_size=7), SSIMMetric(3, win_size=7)

    def gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        loss(*patch).backward()

    losses: dict[str, Callable[[], object]] = {
        "own loss": partial(gradient, own_loss),
        "stock loss": partial(gradient, monai_loss),
    }
    metrics: dict[str, Callable[[], object]] = {
        "own metric": lambda: volume_ssim_map(volume[0][0, 0], volume[1][0, 0]).mean(),
        "stock metric": lambda: monai_metric(*volume),
    }
    # One after the other: the memory that a volume hands back would be asked for anew by the next loss.
    seconds = {
        name: turns
        for ways, n_turns in ((losses, 10), (metrics, 1 if options.quick else 3))
        for name, turns in in_turns({n: partial(timed, run) for n, run in ways.items()}, n_turns).items()
    }
    n_fields = {"loss": FIELDS_FORWARD + FIELDS_BACKWARD, "metric": FIELDS_FORWARD}
    sizes = {"loss": patch[0].numel(), "metric": volume[0].numel()}
    labels = {
        "loss": f"SSIM loss, forward + backward, {SIDE_VOXELS}^3",
        "metric": f"SSIM metric, {'x'.join(map(str, shape))}",
    }
    rows = [
        compare(
            label,
            seconds[f"own {kind}"],
            seconds[f"stock {kind}"],
            (copying(BYTES * n_fields[kind] * sizes[kind], device), "copy in memory"),
            processor=processor,
        )
        for kind, label in labels.items()
        for processor in (False, True)
    ]
    show(rows, f"SSIM, {device}, {n_threads} threads", options.rows)
    difference = float((own_loss(*patch) - monai_loss(*patch)).abs().detach())
    Console().print(f"largest difference of the losses {difference:.1e}")


if __name__ == "__main__":
    main()
