"""When a result cannot be right: signs that need no ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revoxel.experts.sharpness import roughness_log_ratio

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.experts.slices import SliceOperator

#: A result may explain the slices this much worse than the worst expert: a factor, and on the intensity map.
MISFIT_MARGIN = 1.1
MISFIT_FLOOR = 1e-3
#: A result may be this much rougher along the slices than the roughest expert, as a log ratio.
ROUGHNESS_MARGIN = 0.15


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


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt()) if values.numel() else 0.0
