"""From difference images to maps: slices in turn, noise, single delays, other estimators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asl_scans import PLDS_MS, TinyScan, head, truth
from revoxel.asl.fitting.fit import FitSettings
from revoxel.asl.physics import AslPhysics
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.quantification.estimation import MapProblem, PerfusionMaps, SliceTimes, estimate_maps

TIMES_MS = (0.0, 40.0, 80.0, 40.0)
CBF, ATT = truth()
SIGMA = 1e-4


def problem(scan: TinyScan | None = None, sigma: float | None = None, noise: float = 0.0) -> MapProblem:
    scan = scan or TinyScan()
    dm = scan.differences()
    dm = dm + np.random.default_rng(0).normal(0, noise, dm.shape) if noise else dm
    known = None if sigma is None else np.full(dm.shape[-1], sigma)
    return MapProblem(dm.astype(np.float32), head(), scan.protocol(), scan.physics(), known)


@pytest.mark.parametrize("labelling", ["PCASL", "PASL"])
def test_maps_are_those_that_made_the_signal(labelling):
    maps = estimate_maps(problem(TinyScan(labelling=labelling))).maps
    np.testing.assert_allclose(maps.cbf[head()], CBF[head()], rtol=2e-3)
    np.testing.assert_allclose(maps.att[head()], ATT[head()], atol=5)
    assert not maps.cbf[~head()].any()


@pytest.mark.parametrize("axis", [0, 2])
def test_slices_read_out_later_have_longer_delays(axis):
    scan = problem(TinyScan(slice_times_ms=TIMES_MS))
    turned = replace(scan, dm=np.moveaxis(scan.dm, 2, axis), mask=np.moveaxis(scan.mask, 2, axis))
    right = estimate_maps(turned, SliceTimes(axis, TIMES_MS)).maps
    inside = turned.mask
    np.testing.assert_allclose(right.att[inside], np.moveaxis(ATT, 2, axis)[inside], atol=5)
    ignored = estimate_maps(turned).maps
    assert np.abs(ignored.att[inside] - np.moveaxis(ATT, 2, axis)[inside]).max() > 30


def test_noise_is_told_by_what_the_fit_leaves():
    estimate = estimate_maps(problem(noise=SIGMA))
    assert estimate.sigma_source == "residual"
    np.testing.assert_allclose(estimate.sigma, SIGMA, rtol=0.15)
    error = np.abs(estimate.maps.cbf - CBF)[head()]
    assert 0.5 < np.mean(error < estimate.maps.cbf_sd[head()]) < 0.85


def test_noise_of_repeats_is_used_as_it_is():
    estimate = estimate_maps(problem(sigma=3 * SIGMA, noise=SIGMA))
    assert estimate.sigma_source == "repeats"
    assert estimate.sigma[0] == 3 * SIGMA


def test_two_delays_without_repeats_tell_no_noise():
    estimate = estimate_maps(problem(TinyScan(plds_ms=(1000.0, 2500.0))))
    assert estimate.sigma_source == "unknown"
    assert estimate.maps.att is not None
    assert estimate.maps.cbf_sd is None


@pytest.mark.reference
def test_a_single_delay_is_quantified_as_in_the_white_paper():
    """Alsop 2015, equation 1: 6000 lambda DM/M0 exp(PLD/T1) / (2 alpha T1 (1 - exp(-LD/T1)))."""
    protocol = AslProtocol((1800.0,), 1800.0)
    dm = np.full((2, 2, 2, 1), 0.01, np.float32)
    estimate = estimate_maps(
        MapProblem(dm, np.ones((2, 2, 2), bool), protocol, AslPhysics(), np.array([1e-3]))
    )
    by_hand = 6000 * 0.9 * 0.01 * np.exp(1.8 / 1.65) / (2 * 0.85 * 1.65 * (1 - np.exp(-1.8 / 1.65)))
    np.testing.assert_allclose(estimate.maps.cbf, by_hand, rtol=1e-5)
    np.testing.assert_allclose(estimate.maps.cbf_sd, by_hand / 10, rtol=1e-5)
    assert estimate.maps.att is None


def test_a_single_vsasl_delay_is_refused():
    with pytest.raises(ValueError, match="VSASL must have two delays, or a PCASL scan beside it, got one"):
        estimate_maps(problem(TinyScan(labelling="VSASL", plds_ms=(1500.0,))))


def test_channels_that_are_not_the_protocols_are_refused():
    short = replace(problem(), protocol=AslProtocol(PLDS_MS[:5]))
    with pytest.raises(
        ValueError, match=r"dm must have one channel per delay .*\(18, 16, 4, 5\), got \(18, 16, 4, 6\)"
    ):
        estimate_maps(short)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="mask must hold a voxel, got none; give another with --mask"):
        estimate_maps(replace(problem(), mask=np.zeros_like(head())))


@pytest.mark.parametrize("plds_ms", [PLDS_MS, (1800.0,)])
def test_voxels_that_are_not_finite_are_counted_or_left_out(plds_ms):
    spoilt = problem(TinyScan(plds_ms=plds_ms))
    spoilt.dm[5, 4, 1:3] = np.nan
    spoilt.dm[0, 0, 0] = np.inf  # air
    with pytest.raises(ValueError, match=r"(?s)finite.*\b2\b"):
        estimate_maps(spoilt)
    estimate = estimate_maps(spoilt, settings=FitSettings(on_nonfinite="mask"))
    assert estimate.n_dropped == 2
    assert np.isfinite(estimate.maps.cbf).all()
    assert estimate.maps.cbf[5, 4, 1] == 0


def test_another_estimator_gets_the_fit_and_gives_the_maps():
    seen = []

    def halved(block, fit):
        seen.append((block.protocol.pcasl_plds_ms[0], block.dm.shape[2], fit.cbf.shape))
        return PerfusionMaps(fit.cbf / 2, fit.att)

    estimate = estimate_maps(problem(), SliceTimes(2, TIMES_MS), estimator=halved)
    assert seen == [(500.0, 1, (18, 16, 1)), (540.0, 2, (18, 16, 2)), (580.0, 1, (18, 16, 1))]
    np.testing.assert_allclose(estimate.maps.cbf, estimate.fit.cbf / 2)
    assert estimate.maps.cbf_sd is None
