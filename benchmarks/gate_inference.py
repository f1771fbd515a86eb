"""Gate inference: MONAI's stock sliding window against the fast path, and what the speed costs.

    python benchmarks/gate_inference.py [--quick] [--threads N] [--volume SKULL_STRIPPED.nii.gz] [--wf 24]

Bargain: about 4 minutes on 2 cores (--quick, a quarter of the volume: 1 minute). The volume has 240 x 240 x
155 voxels, a synthetic head unless one is given. Four stand-in experts of different sharpness are fused by a
gate that is trained on the spot for a few steps, on patches of several sizes as the shipped gates' windows
vary. "stock" is float32, contiguous, windows of 64^3, overlap 0.5, Gaussian map; "same windows" keeps window
and overlap, and only leaves out the background and uses the fast format. Each way runs in a process of its
own; extra memory is its peak above what it held before, its results included. PSNR: inside the head, range =
99.9 percentile of the truth there. The limit: the gate's convolutions, each voxel of the head once, at the
highest measured rate.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from pairs import Seconds, compare, convolving, in_turns, parser, show, timed
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from revoxel.core.compute import autocast, keep_memory, resolve_device, set_seed, set_threads
from revoxel.core.metrics import psnr
from revoxel.core.volumes import read_volume
from revoxel.core.windows import FastWindowInferer
from revoxel.sagnef import SAGNEF, SAGNEFLoss
from revoxel.sagnef.mixtures import mean_of_experts, spread_of_experts

SHAPE = (240, 240, 155)
QUICK_SHAPE = (144, 160, 112)
N_TRAINING_STEPS = 40
PATCH_SIDES = (32, 64, 48)
AGREEMENT = 1e-6
WAYS = ("stock", "same windows", "fast")
InferencePath = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Way:
    """One way to run the gate, and what one run of it gave.

    Attributes:
        run: Fused volume and weights.
        results: The fused volume of the last run, by the key `fused`.
        before_bytes: Memory that the process held before its first run.
    """

    run: InferencePath
    results: dict[str, NDArray[np.float32]]
    before_bytes: int


_ways: dict[str, Way] = {}


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
    for step in range(N_TRAINING_STEPS):
        side = PATCH_SIDES[step % len(PATCH_SIDES)]
        shares = (0.25 + 0.5 * torch.rand(3, generator=generator)).tolist()
        corner = [int(share * (whole - side)) for share, whole in zip(shares, truth.shape, strict=True)]
        box = [slice(start, start + side) for start in corner]
        fused, weights = gate(stack[:, :, *box])
        optimizer.zero_grad()
        criterion(fused, truth[*box][None, None], weights)["total"].backward()
        optimizer.step()
    return gate.eval()


def inference_path(way: str, stack: Tensor, gate: SAGNEF) -> InferencePath:
    """One way to run the gate over the whole volume."""
    if way == "stock":
        return lambda: sliding_window_inference(stack, 64, 1, gate, 0.5, mode="gaussian")
    experts = stack[:, 1:]
    active = (spread_of_experts(experts) > AGREEMENT)[0, 0]
    uniform = torch.full((1, experts.shape[1], 1, 1, 1), 1 / experts.shape[1], device=stack.device)
    plain = (mean_of_experts(experts), uniform)
    inferer = FastWindowInferer(64) if way == "fast" else FastWindowInferer(64, overlap=0.5, grow=False)
    return lambda: inferer(stack, gate, active=active, fallback=plain)


def prepare(way: str, case: Path, threads: int | None, device: str) -> None:
    """Set a process up for one way."""
    set_threads(threads)
    if way != "stock":
        keep_memory()
    target = resolve_device(device)
    stack, gate = torch.load(case, weights_only=False, map_location=target)
    # The first call loads the libraries' code, which is no memory of the volume's.
    with torch.no_grad(), autocast(target):
        gate(stack[:, :, *[slice(0, PATCH_SIDES[0])] * 3])
    _ways[way] = Way(inference_path(way, stack, gate), {}, resident_bytes())


def resident_bytes() -> int:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def timed_run(way: str) -> Seconds:
    """One run in a prepared process."""
    prepared = _ways[way]

    def run() -> None:
        with torch.no_grad():
            prepared.results["fused"] = prepared.run()[0][0, 0].float().cpu().numpy()

    return timed(run)


def outcome(way: str) -> tuple[NDArray[np.float32], int]:
    """The fused volume, and the bytes that it took beyond what the process held before."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return _ways[way].results["fused"], peak - _ways[way].before_bytes


def measure(
    case: Path, n_turns: int, threads: int | None, device: str
) -> tuple[dict[str, list[Seconds]], dict[str, tuple[NDArray[np.float32], int]]]:
    """Times of all ways, each in its process, and what they gave."""
    context = multiprocessing.get_context("spawn")
    pools = {
        way: ProcessPoolExecutor(1, context, initializer=prepare, initargs=(way, case, threads, device))
        for way in WAYS
    }
    ways = {way: partial(_ask, pool, way) for way, pool in pools.items()}
    # The stock way takes minutes, which the machine's load averages out over: once is enough.
    stock = ways.pop(WAYS[0])()
    seconds = {WAYS[0]: [stock] * n_turns, **in_turns(ways, n_turns, n_warm=0)}
    outcomes = {way: pool.submit(outcome, way).result() for way, pool in pools.items()}
    for pool in pools.values():
        pool.shutdown()
    return seconds, outcomes


def _ask(pool: ProcessPoolExecutor, way: str) -> Seconds:
    return pool.submit(timed_run, way).result()


def operations(gate: SAGNEF, n_voxels: int) -> float:
    """Operations of the gate's convolutions for so many voxels."""
    side = PATCH_SIDES[0]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        gate(torch.rand(1, gate.in_ch, side, side, side))
    return float(counter.get_total_flops()) / side**3 * n_voxels


def main() -> None:
    """Print seconds, ratio to the stock path, extra memory, PSNR and the difference to stock."""
    arguments = parser(__doc__, gpu=True)
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
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case.pt"
        torch.save((stack, gate), case)
        seconds, outcomes = measure(case, 1 if options.quick else 3, options.threads, options.device)
    title = f"{truth.shape}, wf={options.wf}, {n_threads} threads"
    Console().print(quality(title, truth, outcomes))
    inside = truth > 0
    limit = convolving(operations(gate, int(inside.sum())), options.device), "peak convolution rate"
    rows = [
        compare(f"gate, {way}", seconds[way], seconds["stock"], limit, processor=processor)
        for way in WAYS[1:]
        for processor in (False, True)
    ]
    show(rows, title, options.rows)


def quality(
    title: str, truth: NDArray[np.float32], outcomes: dict[str, tuple[NDArray[np.float32], int]]
) -> Table:
    """What each way gave, and the memory that it took."""
    table = Table("way", "PSNR dB", "PSNR to stock dB", "extra GB", title=title)
    inside = truth > 0
    stock = outcomes["stock"][0]
    for way, (volume, extra) in outcomes.items():
        difference = psnr(volume, stock, inside, data_range=1) if way != "stock" else math.inf
        decibels = psnr(volume, truth, inside, data_range=1)
        table.add_row(way, f"{decibels:.3f}", f"{difference:.1f}", f"{extra / 2**30:.2f}")
    return table


if __name__ == "__main__":
    main()
