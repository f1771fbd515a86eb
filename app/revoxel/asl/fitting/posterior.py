r"""What the noise leaves open: mean and standard deviation of CBF and ATT under flat priors.

At a given ATT the posterior of CBF is a normal distribution cut at 0 and at the largest CBF; its integral
over CBF is known in closed form and weighs the ATTs of the grid. In units of the CBF's own standard deviation
the normal has its peak at $z = y \cdot d / (|d| \sigma)$ and the range ends at $L = CBF_{max} |d| / \sigma$.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from revoxel.asl.physics import cramer_rao

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.asl.fitting.dictionary import Dictionary, Optimum

_SQRT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
#: Beyond this many standard deviations outside the range the cut normal is computed by its asymptote.
_FAR = 8.0
#: A peak this many standard deviations inside the range is not cut, for any ATT that has a weight.
_CLEAR = 8.0
#: Of the grid's spacing: a narrower posterior falls between the atoms.
_NARROW = 0.6


def posterior(
    dictionary: Dictionary, projections: Tensor, level: Tensor, optimum: Optimum
) -> dict[str, Tensor]:
    """Mean and standard deviation of CBF and ATT by voxel.

    Args:
        dictionary: Atoms, weighted by the noise.
        projections: `(voxel, atom)`, of the weighted data.
        level: `(voxel,)`, noise that is left after weighting.
        optimum: Best fit of each voxel.

    Returns:
        `cbf_mean`, `cbf_sd`, `att_mean`, `att_sd`, each `(voxel,)`, float64.
    """
    peak = projections / level.float()[:, None]
    moments = _moments(dictionary, peak, level, optimum, cut=False)
    reach = moments["cbf_mean"] + _CLEAR * moments["cbf_sd"]
    near_end = (optimum.explained < (_CLEAR * level) ** 2) | (reach > dictionary.cbf_max)
    rows = near_end.nonzero().squeeze(1)
    if len(rows):
        _replace(moments, rows, _moments(dictionary, peak[rows], level[rows], optimum.part(rows), cut=True))
    spacing = float(dictionary.att.diff().max())
    rows = (moments["att_sd"] < spacing).nonzero().squeeze(1)
    if len(rows):
        _replace(moments, rows, _sharp(dictionary, level[rows], optimum.part(rows), spacing))
    return moments


def _moments(
    dictionary: Dictionary, peak: Tensor, level: Tensor, optimum: Optimum, *, cut: bool
) -> dict[str, Tensor]:
    """Sums over the grid; without `cut` the range of CBF is taken as endless, which is many times faster."""
    norms = dictionary.norms.float()
    scale = level.float()[:, None] / norms
    if cut:
        log_evidence, mean, variance = _cut_normal(peak, dictionary.cbf_max / scale)
    else:
        mean, variance = peak.clamp_min(0.0), torch.ones(())
        log_evidence = 0.5 * mean * mean
    weights = (log_evidence + (_cells(dictionary.att).float() / norms).log()).softmax(1)
    # Deviations from the optimum: sums of squares of the values themselves would cancel in float32.
    cbf = mean * scale - optimum.cbf.float()[:, None]
    att = dictionary.att.float() - optimum.att.float()[:, None]
    cbf_shift, att_shift = (weights * cbf).sum(1), (weights * att).sum(1)
    cbf_square = (weights * (cbf * cbf + scale * scale * variance)).sum(1)
    att_square = (weights * att * att).sum(1)
    return {
        "cbf_mean": optimum.cbf + cbf_shift,
        "cbf_sd": (cbf_square - cbf_shift**2).clamp_min(0.0).sqrt().double(),
        "att_mean": optimum.att + att_shift,
        "att_sd": (att_square - att_shift**2).clamp_min(0.0).sqrt().double(),
    }


def _cut_normal(peak: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log integral, mean and variance of `exp(peak * u - u^2 / 2)` over `u` in [0, end]."""
    inside = peak.clamp_min(0.0).minimum(end)
    peak_near = inside + (peak - inside).clamp(-_FAR, _FAR)
    low, high = -peak_near, end - peak_near
    # The tail that is small is the one computed, so that nothing cancels.
    swap = peak_near > end / 2
    mass = torch.where(swap, _tail(-high) - _tail(peak_near), _tail(low) - _tail(high))
    at_low, at_high = (_DENSITY * torch.exp(-0.5 * place * place) / mass for place in (low, high))
    shift = at_low - at_high
    variance = 1.0 + low * at_low - high * at_high - shift * shift
    outside = peak_near - inside
    # Farther out the cut normal is an exponential whose width goes with one over the distance.
    narrowing = _FAR / (peak - inside).abs().clamp_min(_FAR)
    mean = inside + (peak_near + shift - inside) * narrowing
    log_integral = 0.5 * inside * (2 * peak - inside) + 0.5 * outside * outside + (mass * narrowing).log()
    return log_integral, mean.clamp_min(0.0).minimum(end), (variance * narrowing**2).clamp_min(0.0)


def _tail(place: Tensor) -> Tensor:
    """Share of a standard normal above a place."""
    return 0.5 * torch.erfc(place * _SQRT_HALF)


def _cells(att: Tensor) -> Tensor:
    """Width that each point of the grid stands for (trapezoid rule)."""
    gaps = torch.nn.functional.pad(att.diff(), (1, 1))
    return (gaps[1:] + gaps[:-1]) / 2


def _sharp(dictionary: Dictionary, level: Tensor, optimum: Optimum, spacing: float) -> dict[str, Tensor]:
    """A normal about the optimum with the Cramer-Rao bound; NaN where that is not narrower than the grid."""
    sigma = level[:, None] / dictionary.weights
    cbf_sd, att_sd = cramer_rao(optimum.cbf, optimum.att, dictionary.protocol, sigma, dictionary.physics)
    narrow = att_sd < _NARROW * spacing
    sharp = {"cbf_mean": optimum.cbf, "cbf_sd": cbf_sd, "att_mean": optimum.att, "att_sd": att_sd}
    return {name: value.where(narrow, torch.nan) for name, value in sharp.items()}


def _replace(moments: dict[str, Tensor], rows: Tensor, better: dict[str, Tensor]) -> None:
    """Put the values of some rows in place, where they are numbers."""
    for name, values in better.items():
        moments[name][rows] = values.where(~values.isnan(), moments[name][rows])
