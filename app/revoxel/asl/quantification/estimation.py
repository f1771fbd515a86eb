"""From difference images to maps: the fit, slice by slice where slices are read out in turn, then a network.

A network enters as a `MapEstimator`: a function of the problem and of the fit's answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from revoxel.asl.fitting.fit import AslFit, FitSettings, OnNonfinite, fit_dictionary, white_paper_cbf
from revoxel.asl.fitting.levenberg import LmSettings, fit_lm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.asl.physics import AslPhysics
    from revoxel.asl.protocol import AslProtocol

    Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MapProblem:
    """Slices that share their delays.

    Args:
        dm: `(i, j, slice, channel)`, difference images over M0.
        mask: `(i, j, slice)`, where maps are wanted.
        protocol: Delays of these slices.
        physics: Constants of the signal.
        sigma: Noise of each channel in units of M0; None if unknown.
    """

    dm: NDArray[np.float32]
    mask: NDArray[np.bool_]
    protocol: AslProtocol
    physics: AslPhysics
    sigma: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class PerfusionMaps:
    """What is told about each voxel; 0 outside the mask.

    Args:
        cbf: CBF, ml/100g/min.
        att: ATT, ms; None where a single delay cannot tell it.
        cbf_sd: Standard deviation of CBF; None if the noise is unknown.
        att_sd: Standard deviation of ATT; likewise.
    """

    cbf: Map
    att: Map | None = None
    cbf_sd: Map | None = None
    att_sd: Map | None = None


#: Of the search over ATT, or of Levenberg-Marquardt with its arterial term.
AnyFitSettings = FitSettings | LmSettings
#: Gives maps from a problem and the fit's answer to it.
MapEstimator = Callable[[MapProblem, AslFit], PerfusionMaps]


@dataclass(frozen=True, eq=False)
class Estimate:
    """Maps of a whole scan.

    Args:
        maps: The estimator's, or the fit's.
        fit: The fit's.
        at_bound: `(i, j, k)`, where the fit ended at a bound.
        sigma: Noise of each channel in units of M0; None if it could not be told.
        sigma_source: `repeats`, `residual` or `unknown`.
        n_dropped: Voxels of the mask that were left out, being not finite.
        abv: Arterial blood volume, a fraction; None without the arterial term.
        abat: Arterial bolus arrival time, ms; likewise.
    """

    maps: PerfusionMaps
    fit: PerfusionMaps
    at_bound: NDArray[np.bool_]
    sigma: NDArray[np.float64] | None
    sigma_source: str
    n_dropped: int = 0
    abv: Map | None = None
    abat: Map | None = None


@dataclass(frozen=True, eq=False)
class SliceTimes:
    """When slices are read out.

    Args:
        axis: Array axis of slices.
        times_ms: One per slice, after the first read-out; empty if all are read out at once.
    """

    axis: int = 2
    times_ms: tuple[float, ...] = ()

    def groups(self, n_slices: int) -> dict[float, NDArray[np.intp]]:
        """Slices by their read-out time.

        Args:
            n_slices: How many there are.
        """
        times = np.asarray(self.times_ms or (0.0,) * n_slices)
        return {float(time): np.flatnonzero(times == time) for time in np.unique(times)}


def estimate_maps(
    problem: MapProblem,
    slice_times: SliceTimes | None = None,
    settings: AnyFitSettings | None = None,
    estimator: MapEstimator | None = None,
) -> Estimate:
    """Estimate the maps of a scan.

    Without `sigma` the noise is taken from what the fit leaves over, if there are more delays than it fits.

    Args:
        problem: The whole scan, `dm` as `(i, j, k, channel)`, delays of the slice that is read out first.
        slice_times: When slices are read out.
        settings: Of the fit; those of `fit_lm` choose it instead of `fit_dictionary`.
        estimator: What turns the fit into the maps; the fit itself if not given.

    Returns:
        Maps of the scan.

    Raises:
        ValueError: If channels do not fit the protocol, the mask is empty, or data in it are not finite.
    """
    _check(problem)
    times = slice_times or SliceTimes()
    if problem.protocol.n_channels == 1:
        return _single_delay(problem, times, settings)
    sigma, source = problem.sigma, "unknown" if problem.sigma is None else "repeats"
    if sigma is None and problem.protocol.n_channels > _n_parameters(settings):
        sigma, source = _residual_sigma(problem, times, settings), "residual"
    blocks = [
        (slices, block, _fit(block, settings))
        for slices, block in _blocks(replace(problem, sigma=sigma), times)
    ]
    fits = [(slices, _maps_of(fit)) for slices, _, fit in blocks]
    chosen = fits
    if estimator is not None:
        chosen = [(slices, estimator(block, fit)) for slices, block, fit in blocks]
    shape = problem.mask.shape
    arterial = _n_parameters(settings) > 2
    blood = {
        name: _assembled([(slices, getattr(fit, name)) for slices, _, fit in blocks], shape, times.axis)
        for name in (("abv", "abat") if arterial else ())
    }
    return Estimate(
        maps=_joined(chosen, shape, times),
        fit=_joined(fits, shape, times),
        at_bound=_assembled([(slices, fit.at_bound) for slices, _, fit in blocks], shape, times.axis) > 0,
        sigma=sigma,
        sigma_source=source,
        n_dropped=sum(int(fit.dropped.sum()) for _, _, fit in blocks),
        **blood,
    )


def _check(problem: MapProblem) -> None:
    n_channels = problem.protocol.n_channels
    if problem.dm.shape != (*problem.mask.shape, n_channels):
        msg = (
            f"dm must have one channel per delay of the protocol, {(*problem.mask.shape, n_channels)}, got "
            f"{problem.dm.shape}; average repeats, or correct the delays."
        )
        raise ValueError(msg)
    if not problem.mask.any():
        msg = "the mask must hold a voxel, got none; give another with --mask."
        raise ValueError(msg)


def _fit(block: MapProblem, settings: AnyFitSettings | None) -> AslFit:
    dm, protocol, physics, sigma, mask = block.dm, block.protocol, block.physics, block.sigma, block.mask
    if isinstance(settings, LmSettings):
        return fit_lm(dm, protocol, physics, sigma=sigma, mask=mask, settings=settings)
    return fit_dictionary(dm, protocol, physics, sigma=sigma, mask=mask, settings=settings)


def _n_parameters(settings: AnyFitSettings | None) -> int:
    return 4 if isinstance(settings, LmSettings) and settings.arterial else 2


def _residual_sigma(
    problem: MapProblem, times: SliceTimes, settings: AnyFitSettings | None
) -> NDArray[np.float64]:
    """Noise from the squares that a fit leaves, the same for every channel."""
    n_channels = problem.protocol.n_channels
    fits = [(block, _fit(block, settings)) for _, block in _blocks(problem, times)]
    residual = np.concatenate([fit.residual[block.mask & ~fit.dropped] for block, fit in fits])
    n_free = n_channels - _n_parameters(settings)
    # The median, as for repeats: vessels and edges that no curve fits would raise a mean manyfold.
    sigma = np.sqrt(np.median(residual.astype(np.float64) ** 2) * n_channels / chi2.ppf(0.5, n_free))
    return np.full(n_channels, max(sigma, np.finfo(np.float32).tiny))


def _single_delay(problem: MapProblem, times: SliceTimes, settings: AnyFitSettings | None) -> Estimate:
    if problem.protocol.vsasl_plds_ms:
        msg = "VSASL must have two delays, or a PCASL scan beside it, got one delay; its CBF depends on ATT."
        raise ValueError(msg)
    if _n_parameters(settings) > 2:
        msg = "arterial blood must be seen at four delays or more, got one delay; leave out --arterial."
        raise ValueError(msg)
    finite, ranges = problem, settings.ranges if isinstance(settings, LmSettings) else settings
    if ranges is not None and ranges.on_nonfinite is OnNonfinite.MASK:
        finite = replace(problem, mask=problem.mask & np.isfinite(problem.dm[..., 0]))
    cbfs, sds = [], []
    for slices, block in _blocks(finite, times):
        cbfs.append((slices, white_paper_cbf(block.dm, block.protocol, block.physics, mask=block.mask)))
        if block.sigma is not None:
            noise = np.broadcast_to(block.sigma, block.dm.shape)
            sds.append((slices, white_paper_cbf(noise, block.protocol, block.physics, mask=block.mask)))
    shape = problem.mask.shape
    maps = PerfusionMaps(
        _assembled(cbfs, shape, times.axis), cbf_sd=_assembled(sds, shape, times.axis) if sds else None
    )
    return Estimate(
        maps=maps,
        fit=maps,
        at_bound=np.zeros(shape, dtype=bool),
        sigma=problem.sigma,
        sigma_source="unknown" if problem.sigma is None else "repeats",
        n_dropped=int((problem.mask & ~finite.mask).sum()),
    )


def _blocks(problem: MapProblem, times: SliceTimes) -> list[tuple[NDArray[np.intp], MapProblem]]:
    axis = times.axis
    blocks = []
    for time_ms, slices in times.groups(problem.mask.shape[axis]).items():
        mask = np.take(problem.mask, slices, axis)
        if mask.any():
            dm, protocol = np.take(problem.dm, slices, axis), problem.protocol.later(time_ms)
            blocks.append((slices, replace(problem, dm=dm, mask=mask, protocol=protocol)))
    return blocks


def _maps_of(fit: AslFit) -> PerfusionMaps:
    return PerfusionMaps(fit.cbf, fit.att, fit.cbf_sd, fit.att_sd)


def _joined(
    parts: list[tuple[NDArray[np.intp], PerfusionMaps]], shape: tuple[int, ...], times: SliceTimes
) -> PerfusionMaps:
    whole = {}
    for name in ("cbf", "att", "cbf_sd", "att_sd"):
        values = [(slices, getattr(maps, name)) for slices, maps in parts]
        known = all(value is not None for _, value in values)
        whole[name] = _assembled(values, shape, times.axis) if known else None
    cbf = whole.pop("cbf")
    return PerfusionMaps(np.zeros(shape, np.float32) if cbf is None else cbf, **whole)


def _assembled(
    parts: list[tuple[NDArray[np.intp], NDArray[np.float32]]], shape: tuple[int, ...], axis: int
) -> Map:
    whole = np.zeros(shape, dtype=np.float32)
    along = np.moveaxis(whole, axis, 0)
    for slices, values in parts:
        along[slices] = np.moveaxis(values, axis, 0)
    return whole
