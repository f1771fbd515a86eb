"""CBF and ATT of every voxel by least squares: the global optimum, and the posterior where noise is known."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic

import torch
from torch import Tensor

from revoxel.asl.fitting.chunks import CHUNK, map_chunks
from revoxel.asl.fitting.dictionary import Dictionary, att_grid
from revoxel.asl.fitting.posterior import posterior
from revoxel.asl.fitting.voxels import Noise, Voxels, gather_voxels
from revoxel.asl.physics import Array, AslPhysics, unit_signal

if TYPE_CHECKING:
    from revoxel.asl.protocol import AslProtocol


#: Voxels at a time whose projections on all atoms are held, to stay in the cache.
_BLOCK = 4096


class OnNonfinite(StrEnum):
    """What to do with voxels of the mask that are not finite: refuse the scan, or leave them out."""

    RAISE = "raise"
    MASK = "mask"


@dataclass(frozen=True)
class FitSettings:
    """Where to look for the optimum.

    Args:
        att_range_ms: Smallest and largest ATT, ms.
        step_ms: Step of the ATT grid, ms; kinks of the signal are added, maxima between steps are found.
        cbf_max_ml_100g_min: Largest CBF; the smallest is 0.
        on_nonfinite: What to do with voxels that are not finite.

    Raises:
        ValueError: If a range is empty or a value not positive.
    """

    att_range_ms: tuple[float, float] = (100.0, 4000.0)
    step_ms: float = 20.0
    cbf_max_ml_100g_min: float = 250.0
    on_nonfinite: OnNonfinite | str = OnNonfinite.RAISE

    def __post_init__(self) -> None:
        object.__setattr__(self, "on_nonfinite", OnNonfinite(self.on_nonfinite))
        first, last = self.att_range_ms
        if not 0 <= first < last <= 20_000:
            msg = f"att_range_ms must ascend within 0 to 20000 ms, got {self.att_range_ms}; correct it."
            raise ValueError(msg)
        if not 0 < self.step_ms <= (last - first) / 4:
            msg = f"step_ms must be > 0 and at most a quarter of att_range_ms, got {self.step_ms}; try 20."
            raise ValueError(msg)
        if not 0 < self.cbf_max_ml_100g_min < float("inf"):
            msg = f"cbf_max_ml_100g_min must be > 0, got {self.cbf_max_ml_100g_min}; try 250."
            raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class AslFit(Generic[Array]):
    """Maps of a fit, of the shape of the mask; 0 where nothing was fitted.

    Args:
        cbf: Least-squares CBF, ml/100g/min.
        att: Least-squares ATT, ms.
        residual: Root mean square over channels of (data - signal) / sigma; without sigma in units of M0.
        at_bound: Whether CBF or ATT lies at an end of its range, or of the ATTs that the delays tell apart.
        dropped: Whether the voxel is in the mask but was left out, being not finite.
        cbf_sd: Standard deviation of CBF, ml/100g/min; none without sigma.
        att_sd: Standard deviation of ATT, ms; none without sigma.
        cbf_mean: Posterior mean of CBF, ml/100g/min; none without sigma.
        att_mean: Posterior mean of ATT, ms; none without sigma.
        abv: Arterial blood volume, a fraction; none without the arterial term.
        abat: Arterial bolus arrival time, ms; none without the arterial term.
    """

    cbf: Array
    att: Array
    residual: Array
    at_bound: Array
    dropped: Array
    cbf_sd: Array | None = None
    att_sd: Array | None = None
    cbf_mean: Array | None = None
    att_mean: Array | None = None
    abv: Array | None = None
    abat: Array | None = None


def fit_dictionary(
    dm: Array,
    protocol: AslProtocol,
    physics: AslPhysics | None = None,
    *,
    sigma: Any = None,
    mask: Any = None,
    settings: FitSettings | None = None,
) -> AslFit[Array]:
    """Fit CBF and ATT of every voxel by search over ATT: global optimum, every voxel answered.

    Args:
        dm: `(..., channel)`, difference signal in units of M0.
        protocol: Delays of the channels.
        physics: Constants, each a number or one per item of the first axis; the standard ones if not given.
        sigma: Standard deviation of the noise of `dm`: a number, one per channel, or an array that broadcasts
            with `dm` and differs by voxel `(..., 1)` or by item and channel `(item, 1, ..., channel)`.
        mask: `(...)`, true where a voxel is wanted; every voxel if none.
        settings: Ranges and steps.

    Returns:
        Maps of the kind of array that came in; with sigma also mean and sd of the posterior (flat priors).

    Raises:
        ValueError: If there is one channel only, shapes do not fit, the mask is empty, or a wanted voxel is
            not finite.
    """
    settings = settings or FitSettings()
    if protocol.n_channels < 2:
        msg = f"protocol must have two delays to tell ATT, got {protocol.labels}; use white_paper_cbf."
        raise ValueError(msg)
    voxels = gather_voxels(dm, protocol, mask, drop_nonfinite=settings.on_nonfinite == OnNonfinite.MASK)
    noise = Noise.of(sigma, voxels)
    columns = fit_voxels(voxels, noise, protocol, physics or AslPhysics(), settings)
    maps = {name: voxels.map_of(values) for name, values in columns.items()}
    return AslFit(dropped=voxels.dropped_map(), **maps)


def fit_voxels(
    voxels: Voxels, noise: Noise, protocol: AslProtocol, physics: AslPhysics, settings: FitSettings
) -> dict[str, Tensor]:
    """`fit_dictionary` between the checks and the maps.

    Args:
        voxels: Checked voxels.
        noise: Their noise.
        protocol: Delays of the channels.
        physics: Constants, each a number or one per item.
        settings: Ranges and steps.

    Returns:
        Values of the chosen voxels in order by name, see `AslFit`.
    """
    varying = bool(physics.arrays()) or len(noise.weights) > 1
    work = voxels.items() if varying else [(0, voxels.rows)]
    grid = att_grid(settings.att_range_ms, settings.step_ms, protocol.kinks_ms)
    parts = []
    for item, chosen in work:
        constants = physics.of_item(item, voxels.n_items) if varying else physics
        weights = noise.weights[item % len(noise.weights)]
        dictionary = Dictionary.build(grid, protocol, constants, weights, settings.cbf_max_ml_100g_min)
        parts += [(dictionary, rows) for rows in chosen.split(CHUNK)]

    def fit_part(part: tuple[Dictionary, Tensor]) -> dict[str, Tensor]:
        dictionary, rows = part
        level = None if noise.levels is None else noise.levels[rows]
        return _fit_rows(dictionary, voxels.curves[rows], level)

    return map_chunks(fit_part, parts)


def white_paper_cbf(
    dm: Array, protocol: AslProtocol, physics: AslPhysics | None = None, *, mask: Any = None
) -> Array:
    r"""CBF of a single delay after the whole bolus has arrived (Alsop 2015, equations 1 and 2).

    PCASL: $6000\,\lambda\,DM\,e^{PLD/T_1} / (2\,\alpha\,T_1\,(1 - e^{-LD/T_1}))$ with DM in units of M0;
    PASL: $6000\,\lambda\,DM\,e^{TI/T_1} / (2\,\alpha\,TI_1)$. Negative values stay: clipping biases means.

    Args:
        dm: `(..., 1)`, difference signal in units of M0.
        protocol: One PCASL or PASL delay.
        physics: Constants; the standard ones if not given.
        mask: `(...)`, true where a voxel is wanted; every voxel if none.

    Returns:
        `(...)`, CBF in ml/100g/min, 0 outside the mask.

    Raises:
        ValueError: If there is more than one delay or it is VSASL, shapes do not fit, or `dm` is not finite.
    """
    if protocol.n_channels != 1 or protocol.vsasl_plds_ms:
        msg = f"protocol must be one PCASL or PASL delay, got {protocol.labels}; use fit_dictionary."
        raise ValueError(msg)
    voxels = gather_voxels(dm, protocol, mask, drop_nonfinite=False)
    arrived = torch.zeros(voxels.shape, dtype=voxels.curves.dtype, device=voxels.curves.device)
    if protocol.pasl_bolus_ms:
        arrived += max(protocol.pasl_tis_ms[0] - protocol.pasl_bolus_ms, 0.0)
    cbf = voxels.curves.reshape(*voxels.shape, 1) / unit_signal(arrived, protocol, physics)
    return voxels.map_of(cbf.reshape(-1)[voxels.chosen])


def _fit_rows(dictionary: Dictionary, curves: Tensor, level: Tensor | None) -> dict[str, Tensor]:
    """Fit some voxels."""
    weighted = curves.double() * dictionary.weights
    blocks = weighted.split(_BLOCK)
    best = torch.cat([dictionary.search(dictionary.project(block)) for block in blocks])
    optimum = dictionary.refine(weighted, best)
    squares = ((weighted * weighted).sum(1) - optimum.explained).clamp_min(0.0) / weighted.shape[1]
    first, last = dictionary.att[list(dictionary.told)]
    at_end = (optimum.att <= first) | (optimum.att >= last)
    rows = {
        "cbf": optimum.cbf,
        "att": optimum.att,
        "residual": squares.sqrt() / (1.0 if level is None else level),
        "at_bound": at_end | (optimum.cbf <= 0.0) | (optimum.cbf >= dictionary.cbf_max),
    }
    if level is not None:
        parts = []
        for block in torch.arange(len(level), device=level.device).split(_BLOCK):
            projections = dictionary.project(weighted[block])
            parts.append(posterior(dictionary, projections, level[block], optimum.part(block)))
        rows |= {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return rows
