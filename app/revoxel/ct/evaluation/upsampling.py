"""Rows of an upsampler's table: what a user would try first, and the network with and without projection."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class UpsamplingTable:
    """Baselines and, if there is one, an upsampler.

    Args:
        network: From coarse to fine HU, before the projection; None for baselines alone.
    """

    network: Step | None = None
    baselines: tuple[str, ...] = BASELINES

    def parts(self, case: CtCase) -> list[CtCase]:
        """The whole scan.

        Args:
            case: The scan.
        """
        return [case]

    def blurred(self, part: CtCase) -> Volume:
        """What unsharp masking sharpens: the interpolated volume.

        Args:
            part: The scan.
        """
        return trilinear(part.coarse_hu, part.factor)

    def rows(self, part: CtCase, sharpening: Unsharp, progress: Callable[[float], None]) -> Rows:
        """Refined volumes by row, one at a time: together they would fill the memory.

        Args:
            part: The scan.
            sharpening: Of unsharp masking, fixed on other patients.
            progress: Called with the network's share done.

        Yields:
            Name and `(x, y, z)` in HU; the last one is what `refine` gives.
        """
        coarse, factor = part.coarse_hu, part.factor
        plain = trilinear(coarse, factor)
        yield CONSTANT, constant(coarse, plain.shape)
        yield TRILINEAR, plain
        yield UNSHARP, unsharp(plain, sharpening)
        yield SPLINE, as_volume(upsample_histospline(as_tensor(coarse), factor))
        yield PROJECTED, _projected(plain, coarse)
        if self.network is not None:
            fine = self.network(coarse, progress)
            yield NETWORK, fine
            yield NETWORK_PROJECTED, _projected(fine, coarse)


def _projected(fine: Volume, coarse: Volume) -> Volume:
    return projected(fine, coarse).astype(np.float32)
