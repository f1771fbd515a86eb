"""ASL fit: dictionary and Levenberg-Marquardt against scipy's curve_fit voxel by voxel, in one run.

    python benchmarks/asl_fit.py [--quick] [--snr 10]

A scan of 96 x 96 x 24 voxels, PCASL and VSASL at six delays each, CBF 10-100 and ATT 400-2800 ms drawn
evenly, Gaussian noise; SNR is that of a PCASL image at PLD 2 s for CBF 60. curve_fit gets a lean model,
weighted data and a sample of the voxels. The best of some runs counts; where other programs use the cores,
compare by CPU seconds. Bargain: 20 s on 2 idle cores (--quick: 8 s). Expect the dictionary above 300 times
curve_fit and under 2 s per scan, equal errors, and every voxel valid.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import curve_fit

from revoxel.asl.fitting.fit import AslFit, fit_dictionary
from revoxel.asl.fitting.levenberg import fit_lm
from revoxel.asl.physics import AslPhysics, cramer_rao, signal
from revoxel.asl.protocol import AslProtocol
from revoxel.core.compute import set_threads

SHAPE = (24, 96, 96)
PLDS_MS = (500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0)
PROTOCOL = AslProtocol(PLDS_MS, 1800.0, PLDS_MS)
BOUNDS = ((0.0, 100.0), (250.0, 4000.0))

Maps = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Scan:
    """Truth and data, one row per voxel."""

    cbf: NDArray[np.float64]
    att: NDArray[np.float64]
    dm: NDArray[np.float32]
    sigma: float


def simulate(snr: float) -> Scan:
    """Draw a scan."""
    generator = np.random.default_rng(0)
    n_voxels = int(np.prod(SHAPE))
    cbf, att = generator.uniform(10, 100, n_voxels), generator.uniform(400, 2800, n_voxels)
    sigma = float(signal(np.array(60.0), np.array(1500.0), AslProtocol((2000.0,)))[0]) / snr
    clean = signal(cbf, att, PROTOCOL)
    return Scan(cbf, att, (clean + generator.normal(0, sigma, clean.shape)).astype(np.float32), sigma)


def lean_model() -> Callable[..., NDArray[np.float64]]:
    """The signal of one voxel, all that is constant computed beforehand, as a careful user would write it."""
    physics, plds_s = AslPhysics(), np.array(PLDS_MS) / 1000
    t1_s = float(physics.t1_blood_ms) / 1000
    labelled = 2 * float(physics.alpha_pcasl) * t1_s / 0.9 / 6000
    saturated = 2 * float(physics.alpha_vsasl) / 0.9 / 6000 * np.exp(-plds_s / t1_s)
    ends = np.exp(-(1.8 + plds_s) / t1_s)

    def model(_: object, cbf: float, att_ms: float) -> NDArray[np.float64]:
        att_s = att_ms / 1000
        casl = labelled * np.maximum(np.exp(-np.maximum(plds_s, att_s) / t1_s) - ends, 0)
        return cbf * np.concatenate([casl, saturated * np.minimum(plds_s, att_s)])

    return model


def fit_by_scipy(scan: Scan, *, bounded: bool) -> Maps:
    """curve_fit in a loop; NaN where it gives up."""
    model, noise = lean_model(), np.full(PROTOCOL.n_channels, scan.sigma)
    limits = {"bounds": BOUNDS} if bounded else {}
    found = np.full((len(scan.dm), 2), np.nan)
    for voxel, curve in enumerate(scan.dm.astype(np.float64)):
        try:
            found[voxel], _ = curve_fit(model, None, curve, p0=(60, 1200), sigma=noise, **limits)
        except RuntimeError:
            continue
    return found[:, 0], found[:, 1]


def maps_of(fit: AslFit) -> Maps:
    """The two maps of one of our fits."""
    return fit.cbf, fit.att


def part(scan: Scan, n_voxels: int) -> Scan:
    """The first voxels of a scan."""
    return Scan(scan.cbf[:n_voxels], scan.att[:n_voxels], scan.dm[:n_voxels], scan.sigma)


@dataclass(frozen=True)
class Timing:
    """Best of some runs, voxels per second: by the clock, and of all cores' time together."""

    by_clock: float
    by_cpu: float


def timed(method: Callable[[Scan], Maps], scan: Scan, n_repeats: int) -> tuple[Timing, Maps]:
    """Speed and maps."""
    clock, cpu = [], []
    for _ in range(n_repeats):
        starts = time.perf_counter(), time.process_time()
        maps = method(scan)
        clock.append(time.perf_counter() - starts[0])
        cpu.append(time.process_time() - starts[1])
    return Timing(len(scan.dm) / min(clock), len(scan.dm) / min(cpu)), maps


def row(name: str, timing: Timing, maps: Maps, scan: Scan, slow: Timing) -> list[str]:
    """One line of the table."""
    (low_cbf, low_att), (high_cbf, high_att) = BOUNDS
    cbf, att = maps
    valid = (cbf >= low_cbf) & (cbf <= high_cbf) & (att >= low_att) & (att <= high_att)
    errors = (np.abs(cbf - scan.cbf)[valid].mean(), np.abs(att - scan.att)[valid].mean())
    return [
        name,
        f"{timing.by_clock:,.0f}",
        f"{timing.by_clock / slow.by_clock:,.1f}",
        f"{np.prod(SHAPE) / timing.by_clock:,.2f}",
        f"{timing.by_cpu:,.0f}",
        f"{timing.by_cpu / slow.by_cpu:,.1f}",
        f"{errors[0]:.2f}",
        f"{errors[1]:.1f}",
        f"{100 * valid.mean():.2f}",
    ]


def main() -> None:
    """Print speed, ratio to curve_fit, errors and share of valid voxels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller sample for curve_fit")
    parser.add_argument("--snr", type=float, default=10.0, help="SNR of CBF 60 (default 10)")
    arguments = parser.parse_args()
    n_threads, scan = set_threads(), simulate(arguments.snr)
    sample = part(scan, 300 if arguments.quick else 2000)
    small = part(scan, len(sample.dm) // 4)
    methods = (
        ("curve_fit", lambda s: fit_by_scipy(s, bounded=False), sample, 3),
        ("curve_fit, bounded", lambda s: fit_by_scipy(s, bounded=True), small, 3),
        ("fit_dictionary", lambda s: maps_of(fit_dictionary(s.dm, PROTOCOL)), scan, 15),
        ("fit_dictionary, sd", lambda s: maps_of(fit_dictionary(s.dm, PROTOCOL, sigma=s.sigma)), scan, 5),
        ("fit_lm", lambda s: maps_of(fit_lm(s.dm, PROTOCOL)), scan, 2),
    )
    heads = ("", "voxels/s", "ratio", "s/scan", "voxels/CPU s", "ratio", "MAE CBF", "MAE ATT", "valid %")
    title = f"{' x '.join(map(str, SHAPE))} voxels, SNR {arguments.snr:g}, {n_threads} threads"
    table = Table(*heads, title=title)
    slow = None
    for name, method, voxels, n_repeats in methods:
        timing, maps = timed(method, voxels, n_repeats)
        slow = slow or timing
        table.add_row(*row(name, timing, maps, voxels, slow))
    bounds = cramer_rao(scan.cbf, scan.att, PROTOCOL, scan.sigma)
    least = [np.sqrt(2 / np.pi) * sd[np.isfinite(sd)].mean() for sd in bounds]
    table.add_row("Cramer-Rao bound", *[""] * 5, f"{least[0]:.2f}", f"{least[1]:.1f}", "")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
