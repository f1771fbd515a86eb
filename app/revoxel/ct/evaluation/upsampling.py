"""Rows of an upsampler's table: what a user would try first, and the network with and without projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from revoxel.ct.evaluation.baselines import constant, unsharp
from revoxel.ct.refinement.steps import as_tensor, as_volume, projected, trilinear
from revoxel.ct.upsampler.histospline import upsample_histospline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from revoxel.ct.evaluation.baselines import Unsharp
    from revoxel.ct.evaluation.cases import CtCase
    from revoxel.ct.refinement.steps import Step

    Volume = NDArray[np.float32]
    Rows = Iterator[tuple[str, Volume]]

CONSTANT, TRILINEAR, UNSHARP, SPLINE = "constant", "trilinear", "unsharp", "mean-preserving spline"
PROJECTED, NETWORK, NETWORK_PROJECTED = "trilinear+projection", "network", "network+projection"
BASELINES = (CONSTANT, TRILINEAR, UNSHARP, SPLINE, PROJECTED)


def upsampling_rows(
    case: CtCase, sharpening: Unsharp, network: Step | None, progress: Callable[[float], None]
) -> Rows:
    """Refined volumes by row, one at a time: together they would fill the memory.

    Args:
        case: The scan.
        sharpening: Of unsharp masking, fixed on other patients.
        network: From coarse to fine HU, before the projection; None for baselines alone.
        progress: Called with the network's share done.

    Yields:
        Name and `(x, y, z)` in HU; the last one is what `refine` gives.
    """
    coarse, factor = case.coarse_hu, case.factor
    plain = trilinear(coarse, factor)
    yield CONSTANT, constant(coarse, plain.shape)
    yield TRILINEAR, plain
    yield UNSHARP, unsharp(plain, sharpening)
    yield SPLINE, as_volume(upsample_histospline(as_tensor(coarse), factor))
    yield PROJECTED, _projected(plain, coarse)
    if network is not None:
        fine = network(coarse, progress)
        yield NETWORK, fine
        yield NETWORK_PROJECTED, _projected(fine, coarse)


def _projected(fine: Volume, coarse: Volume) -> Volume:
    return projected(fine, coarse).astype(np.float32)
