"""When a result cannot be right: signs that need no ground truth."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.experts.slices import SliceOperator

#: A result may explain the slices this much worse than the worst expert: a factor, and on the intensity map.
MISFIT_MARGIN = 1.1
MISFIT_FLOOR = 1e-3
#: A result may be this much rougher along the slices than the roughest expert, as a log ratio.
ROUGHNESS_MARGIN = 0.15
#: Ratios of slice separation to voxel size at which over-sharpening was measured.
MEASURED_RATIOS = (4.0, 6.0)
_TINY = 1e-9


def implausible(fused: Tensor, experts: Tensor, low: Tensor, operator: SliceOperator) -> str | None:
    """Say why a result cannot be right: a sound mixture is no worse than the worst of its parts.

    Args:
        fused: `(x, y, z)`, slice axis last, before data consistency.
        experts: `(expert, x, y, z)`.
        low: `(x, y, n_low)`, the measured slices, same units.
        operator: Slice operator from z to `n_low`.

    Returns:
        The reason, or `None` if nothing speaks against the result.
    """
    misfit, *misfits = (_rms(operator.forward(volume) - low) for volume in (fused, *experts))
    if misfit > MISFIT_MARGIN * max(misfits) + MISFIT_FLOOR:
        return f"explains the slices worse ({misfit:.4f}) than every expert (at most {max(misfits):.4f})"
    rough, *roughs = (roughness_log_ratio(volume) for volume in (fused, *experts))
    if rough > max(roughs) + ROUGHNESS_MARGIN:
        return f"is rougher along the slices ({rough:.2f}) than every expert (at most {max(roughs):.2f})"
    return None


def is_over_sharpened(expert: Tensor, ratio: float) -> bool:
    """Whether a learned expert has undone more blur than there was, because its slice profile is too wide.

    Measured on 37 simulated scans of four patients, 5 mm slices (`benchmarks/training_set.py`): ECLARE's log
    ratio was -0.91 to -0.61 with the right width, and -0.55 to -0.19 wherever UNIRES beat it by 0.3 dB or
    more. The threshold was chosen on these. It falls by 0.2 per voxel of separation; outside 4 to 6 voxels
    nothing is claimed.

    Args:
        expert: `(x, y, z)`, ECLARE's volume, slice axis last.
        ratio: Slice separation in voxels.
    """
    low, high = MEASURED_RATIOS
    return low <= ratio <= high and roughness_log_ratio(expert) > 0.44 - 0.2 * ratio


def roughness_log_ratio(volume: Tensor) -> float:
    """Log of the RMS second difference along the last axis over the one in-plane: 0 = equally rough.

    Args:
        volume: `(x, y, z)`, sides of at least 3.
    """
    across_x, across_y, along = (_rms(torch.diff(volume, n=2, dim=axis)) for axis in range(3))
    in_plane = ((across_x**2 + across_y**2) / 2) ** 0.5
    return log((along + _TINY) / (in_plane + _TINY))


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt()) if values.numel() else 0.0
