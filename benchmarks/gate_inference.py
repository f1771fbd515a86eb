"""Gate inference: MONAI's stock sliding window against the fast path, and the error that the speed costs.

    python benchmarks/gate_inference.py [--quick] [--threads N] [--volume SKULL_STRIPPED.nii.gz] [--wf 24]

Bargain: about 3 minutes on 2 cores (--quick, a third of the volume: 1 minute). The volume has 240 x 240 x 155
voxels, a synthetic head unless one is given. Four stand-in experts of different sharpness are fused by a gate
that is trained on the spot for a few steps. "stock" is float32, contiguous, windows of 64^3, overlap 0.5,
Gaussian map. PSNR: inside the head, range = 99.9 percentile of the truth there.
The limit: the gate's convolutions, each voxel of the head's box once, at the highest measured rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from pairs import Seconds, compare, convolving, parser, show, timed
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from revoxel.core.compute import set_seed, set_threads
from revoxel.core.metrics import psnr
from revoxel.core.volumes import read_volume
from revoxel.core.windows import FastWindowInferer, HannSlidingWindowInferer
from revoxel.sagnef import SAGNEF, SAGNEFLoss
from revoxel.sagnef.mixtures import mean_of_experts, spread_of_experts

SHAPE = (240, 240, 155)
QUICK_SHAPE = (128, 144, 112)
N_TRAINING_STEPS = 25
PATCH_VOXELS = 32
AGREEMENT = 1e-6
InferencePath = Callable[[], tuple[Tensor, ...]]


def synthetic_head(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Folded two-tissue texture in an ellipsoid that fills as much of the volume as a stripped brain does."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, side) for side in shape], indexing="ij", sparse=True)
    radii = (0.6, 0.74, 0.88)
    inside = sum((axis / radius) ** 2 for axis, radius in zip(axes, radii, strict=True)) < 1
    folds = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 1.6)
    texture = ndimage.gaussian_filter(np.where(folds > 0, 0.9, 0.5).astype(np.float32), 0.6)
    return np.where(inside, texture, 0).astype(np.float32)


def stand_in_experts(truth: NDArray[np.float32]) -> Tensor:
    """`(1, 5, x, y, z)`: a thick scan on the fine grid and four experts, all zero outside the head."""
    inside = truth > 0
    channels = []
    for sigma_voxels, sharpening in ((2.0, 0.0), (2.0, 0.3), (1.2, 0.0), (1.2, 0.5), (1.6, 0.2)):
        blurred = ndimage.gaussian_filter1d(truth, sigma_voxels, axis=2)
        detail = blurred - ndimage.gaussian_filter1d(blurred, 1.0, axis=2)
        channels.append(np.where(inside, blurred + sharpening * detail, 0))
    return torch.from_numpy(np.stack(channels)[None].astype(np.float32))


def trained_gate(stack: Tensor, truth: Tensor, wf: int) -> SAGNEF:
    """A gate after a few steps, so that its weights vary in space as a real one's do."""
    gate = SAGNEF(in_ch=stack.shape[1], n_experts=stack.shape[1] - 1, wf=wf, residual=True)
    optimizer = torch.optim.Adam(gate.parameters(), lr=1e-3)
    criterion = SAGNEFLoss()
    generator = torch.Generator().manual_seed(0)
    middle = [side // 2 for side in truth.shape]
    for _ in range(N_TRAINING_STEPS):
        shift = torch.randint(-PATCH_VOXELS, 1, (3,), generator=generator).tolist()
        box = [slice(m + s, m + s + PATCH_VOXELS) for m, s in zip(middle, shift, strict=True)]
        fused, weights = gate(stack[:, :, *box])
        optimizer.zero_grad()
        criterion(fused, truth[*box][None, None], weights)["total"].backward()
        optimizer.step()
    return gate.eval()


def inference_paths(stack: Tensor, gate: SAGNEF) -> dict[str, InferencePath]:
    """Ways to run the gate over the whole volume, the stock one first."""
    experts = stack[:, 1:]
    active = (spread_of_experts(experts) > AGREEMENT)[0, 0]
    plain = (mean_of_experts(experts), torch.full((1, experts.shape[1], 1, 1, 1), 1 / experts.shape[1]))
    exact, fast = HannSlidingWindowInferer(64), FastWindowInferer(64)
    return {
        "stock": lambda: sliding_window_inference(stack, 64, 1, gate, 0.5, mode="gaussian"),
        "exact": lambda: exact(stack, gate),
        "fast, every window": lambda: fast(stack, gate),
        "fast, along the head": lambda: fast(stack, gate, active=active, fallback=plain),
    }


def fused_by(run: InferencePath) -> tuple[NDArray[np.float32], Seconds]:
    """The fused volume and the time it took."""
    outputs: list[Tensor] = []
    with torch.no_grad():
        seconds = timed(lambda: outputs.extend(run()))
    return outputs[0][0, 0].numpy(), seconds


def least_time(gate: SAGNEF, n_voxels: int) -> Seconds:
    """Time for the gate's convolutions of so many voxels at the highest measured rate."""
    patch = torch.rand(1, gate.in_ch, *[PATCH_VOXELS] * 3)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        gate(patch)
    return convolving(counter.get_total_flops() / PATCH_VOXELS**3 * n_voxels)


def main() -> None:
    """Print seconds, ratio to the stock path, PSNR and the difference to stock."""
    arguments = parser(__doc__)
    arguments.add_argument("--volume", type=Path, help="skull-stripped volume instead of the synthetic head")
    arguments.add_argument("--wf", type=int, default=24, help="width of the gate")
    options = arguments.parse_args()
    n_threads = set_threads(options.threads)
    set_seed(0)
    shape = QUICK_SHAPE if options.quick else SHAPE
    truth = read_volume(options.volume).data if options.volume else synthetic_head(shape)
    truth = truth / np.percentile(truth[truth > 0], 99.9)
    stack = stand_in_experts(truth)
    gate = trained_gate(stack, torch.from_numpy(truth), options.wf)
    volumes = {name: fused_by(run) for name, run in inference_paths(stack, gate).items()}
    table = Table("path", "seconds", "ratio", "PSNR dB", "PSNR to stock dB")
    table.title = f"{truth.shape}, wf={options.wf}, {n_threads} threads"
    inside = truth > 0
    stock, stock_seconds = volumes["stock"]
    for name, (volume, seconds) in volumes.items():
        quality = psnr(volume, truth, inside, data_range=1)
        difference = psnr(volume, stock, inside, data_range=1) if name != "stock" else math.inf
        ratio = stock_seconds.clock / seconds.clock
        table.add_row(name, f"{seconds.clock:.1f}", f"{ratio:.1f}", f"{quality:.3f}", f"{difference:.1f}")
    Console().print(table)
    limit = (least_time(gate, int(inside.sum())), "peak convolution rate")
    rows = [
        compare(f"gate, {name}", [volumes[name][1]], [stock_seconds], limit, processor=processor)
        for name in volumes.keys() - {"stock"}
        for processor in (False, True)
    ]
    show(sorted(rows, key=lambda row: row.what), str(table.title), options.rows)


if __name__ == "__main__":
    main()
