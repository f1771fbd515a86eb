"""The thick-slice operator: from fine samples along an axis to thick slices, and its exact adjoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from revoxel.experts.profiles import FWHM_PER_STD, ProfileKind, SliceProfile

_BISECTIONS = 48
_BACKGROUND_SHARE = 0.05
_SEEN_WEIGHT = 1e-6


@dataclass(frozen=True, eq=False)
class SliceOperator:
    r"""Linear map $x = A y$ from fine samples $y$ to thick slices $x$ along the last axis.

    Row $k$ holds the weights of the fine samples in slice $k$; rows sum to 1, so a constant stays constant.
    The first edges of both samplings coincide. Beyond the ends the fine samples are edge-replicated.

    Args:
        matrix: `(n_low, n_high)`, float64.
    """

    matrix: Tensor
    _cast: dict[tuple[torch.dtype, torch.device], Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls, n_low: int, n_high: int, spacing_high_mm: float, separation_mm: float, profile: SliceProfile
    ) -> SliceOperator:
        """Operator of `n_low` slices, `separation_mm` apart, over `n_high` samples of `spacing_high_mm`.

        Thickness (in `profile`) and separation are independent: gaps and overlaps both work, and their
        ratio to the fine spacing need not be an integer.

        Raises:
            ValueError: If a count or a spacing is not positive.
        """
        if min(n_low, n_high) < 1 or min(spacing_high_mm, separation_mm) <= 0:
            msg = (
                f"slice counts and spacings must be positive, got {n_low} and {n_high} samples, "
                f"{spacing_high_mm} and {separation_mm} mm; check the image header."
            )
            raise ValueError(msg)
        centres_mm = (np.arange(n_low) + 0.5) * separation_mm
        margin = math.ceil((4.0 * profile.std_mm + separation_mm) / spacing_high_mm) + 1
        last = max(n_high, math.ceil(centres_mm[-1] / spacing_high_mm))
        positions_mm = (np.arange(-margin, last + margin) + 0.5) * spacing_high_mm
        weights = slice_weights(positions_mm[None, :] - centres_mm[:, None], spacing_high_mm, profile)
        return cls(torch.from_numpy(_fold_edges(weights, margin, n_high)))

    @property
    def n_low(self) -> int:
        """Number of thick slices."""
        return int(self.matrix.shape[0])

    @property
    def n_high(self) -> int:
        """Number of fine samples."""
        return int(self.matrix.shape[1])

    def forward(self, volume: Tensor) -> Tensor:
        """Thick slices of fine samples: `(..., n_high)` to `(..., n_low)`."""
        return volume @ self._like(volume).T

    def adjoint(self, slices: Tensor) -> Tensor:
        """Exact adjoint: `(..., n_low)` to `(..., n_high)`."""
        return slices @ self._like(slices)

    def background(self, low: Tensor) -> Tensor:
        """Mark the samples whose every slice holds one constant background, the most common value.

        Args:
            low: `(..., n_low)`, the measured slices.

        Returns:
            Boolean `(..., n_high)`; all false when less than 5 % of the slices share one value.
        """
        values, counts = torch.unique(low, return_counts=True)
        if counts.max() < _BACKGROUND_SHARE * low.numel():
            return torch.zeros((*low.shape[:-1], self.n_high), dtype=torch.bool, device=low.device)
        occupied = (low != values[counts.argmax()]).to(torch.float32)
        return occupied @ self._reach.to(occupied) == 0

    @cached_property
    def _reach(self) -> Tensor:
        """`(n_low, n_high)`: which slice sees which sample, or is nearest to it where a gap hides it."""
        index = torch.arange(self.n_high, dtype=torch.float64)
        centres = self.matrix @ index
        nearest = (centres[:, None] - index).abs().argmin(0)
        reach = self.matrix > _SEEN_WEIGHT
        reach[nearest, index.long()] = True
        return reach

    def _like(self, other: Tensor) -> Tensor:
        key = (other.dtype, other.device)
        if key not in self._cast:
            self._cast[key] = self.matrix.to(dtype=other.dtype, device=other.device)
        return self._cast[key]


def slice_weights(
    distance_mm: NDArray[np.float64], spacing_mm: float, profile: SliceProfile
) -> NDArray[np.float64]:
    r"""Weights of samples of width `spacing_mm` at signed distances from the slice centre; rows sum to 1.

    The samples are already averages over their own width, so only the remaining variance is applied:
    $F^2 - h^2$ for a Gaussian of FWHM F, $(W^2 - h^2)/12$ otherwise.

    Args:
        distance_mm: `(slice, sample)` distances in mm.
        spacing_mm: Width of a sample in mm.
        profile: The physical profile.
    """
    share = 1.0 / FWHM_PER_STD**2 if profile.kind is ProfileKind.GAUSS else 1.0 / 12.0
    variance = profile.std_mm**2 - share * spacing_mm**2
    if variance < (0.4 * spacing_mm) ** 2:
        return _linear_weights(distance_mm / spacing_mm)
    if profile.kind is ProfileKind.GAUSS:
        weights = np.exp(-0.5 * distance_mm**2 / variance)
        return weights / weights.sum(axis=1, keepdims=True)
    return _matched_cell_weights(distance_mm, spacing_mm, profile, variance)


def _linear_weights(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.clip(1.0 - np.abs(distance), 0.0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def _matched_cell_weights(
    distance_mm: NDArray[np.float64], spacing_mm: float, profile: SliceProfile, variance: float
) -> NDArray[np.float64]:
    # The overlap of a profile with voxel cells widens it by an amount that depends on the phase of the slice;
    # a width found per slice by bisection gives every slice the same variance.
    low = np.full((distance_mm.shape[0], 1), 0.05)
    high = np.full_like(low, 2.0)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        weights = _cell_weights(distance_mm, spacing_mm, profile, middle)
        too_wide = _row_variance(distance_mm, weights) > variance
        low, high = np.where(too_wide, low, middle), np.where(too_wide, middle, high)
    return _cell_weights(distance_mm, spacing_mm, profile, 0.5 * (low + high))


def _cell_weights(
    distance_mm: NDArray[np.float64], spacing_mm: float, profile: SliceProfile, scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    upper = profile.cumulative((distance_mm + spacing_mm / 2) / scale)
    weights = upper - profile.cumulative((distance_mm - spacing_mm / 2) / scale)
    return weights / weights.sum(axis=1, keepdims=True)


def _row_variance(distance_mm: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = (distance_mm * weights).sum(axis=1, keepdims=True)
    return ((distance_mm - mean) ** 2 * weights).sum(axis=1, keepdims=True)


def _fold_edges(weights: NDArray[np.float64], margin: int, n_high: int) -> NDArray[np.float64]:
    matrix = weights[:, margin : margin + n_high].copy()
    matrix[:, 0] += weights[:, :margin].sum(axis=1)
    matrix[:, -1] += weights[:, margin + n_high :].sum(axis=1)
    return matrix
