r"""Data consistency: move a volume until its simulated thick slices agree with the measured ones.

$y \leftarrow y + A^\top (A A^\top + \mu I)^{-1} (x - A y)$ with the slice operator $A$ along the last axis:
the exact minimiser of $\|x - A y'\|^2 + \mu \|y' - y\|^2$, one small matrix product per column. A wrong slice
profile makes the step harmful, so its strength follows the confidence in the profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.experts.slices import SliceOperator

MU_KNOWN = 0.02
"""Strength for a profile known beyond doubt, in units of the squared slice weights."""

LEAST_CONFIDENCE = 0.5
"""Below this confidence in the profile the step does more harm than good."""


def consistency_strength(confidence: float) -> float | None:
    """Regularisation that suits the confidence in the slice profile.

    It grows without bound towards the least confidence, so the step fades out before it is switched off.

    Args:
        confidence: 0 to 1; 1 means the profile is known.

    Returns:
        `mu` for `data_consistency`, or None when the step is to be left out.

    Raises:
        ValueError: If the confidence is not between 0 and 1.
    """
    if not 0 <= confidence <= 1:
        msg = f"confidence must be between 0 and 1, got {confidence}; use 1 for a profile that you know."
        raise ValueError(msg)
    if confidence <= LEAST_CONFIDENCE:
        return None
    return MU_KNOWN * (1 - LEAST_CONFIDENCE) / (confidence - LEAST_CONFIDENCE)


def data_consistency(volume: Tensor, low: Tensor, operator: SliceOperator, mu: float = MU_KNOWN) -> Tensor:
    """Correct a volume along its slice axis towards the measured slices.

    Voxels that only see background slices are left as they are, so a constant background stays exactly that.

    Args:
        volume: `(..., n_high)`, in the intensity map of `low`.
        low: `(..., n_low)`, the measured slices.
        operator: Slice operator from `n_high` to `n_low`.
        mu: Trust in the volume against the slices, >= 0; 0 reproduces the slices exactly.

    Returns:
        `(..., n_high)`, the dtype of `volume`.

    Raises:
        ValueError: If `mu` is negative or the shapes do not fit the operator.
    """
    _check_columns(volume, low, operator)
    residual = low - operator.forward(volume)
    correction = residual @ _back_projection(operator.matrix, mu).to(volume).T
    return torch.where(operator.background(low), volume, volume + correction)


def _check_columns(volume: Tensor, low: Tensor, operator: SliceOperator) -> None:
    n_high, n_low = operator.n_high, operator.n_low
    if volume.shape[:-1] != low.shape[:-1] or (volume.shape[-1], low.shape[-1]) != (n_high, n_low):
        msg = (
            f"volume and low must be (..., {n_high}) and (..., {n_low}), got {tuple(volume.shape)} and "
            f"{tuple(low.shape)}; move the slice axis last and use the operator of this volume."
        )
        raise ValueError(msg)


def _back_projection(matrix: Tensor, mu: float) -> Tensor:
    """$A^T (A A^T + mu I)^{-1}$ in float64, `(n_high, n_low)`."""
    if mu < 0:
        msg = f"mu must be >= 0, got {mu}; use 0.02 for a known slice profile."
        raise ValueError(msg)
    gram = matrix @ matrix.T
    gram.diagonal().add_(mu)
    solved: Tensor = torch.linalg.solve(gram, matrix).T
    return solved
