"""Simulated scans: a phantom, its signal with constants of its own, and noise; for training and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.physics import AslPhysics, signal
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.simulation.noise import AslNoise, add_noise
from revoxel.asl.simulation.phantom import PhantomConfig, make_phantom
from revoxel.asl.simulation.physics_range import PhysicsRange, ScanPhysics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.asl.simulation.phantom import Phantom

#: Six delays, each with PCASL and VSASL.
JOINT_PROTOCOL = AslProtocol(
    pcasl_plds_ms=(500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0),
    vsasl_plds_ms=(500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0),
)


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """One slice as a scanner would give it, and the truth behind it.

    Attributes:
        phantom: The truth.
        dm: Noisy difference images in units of M0, `(channel, row, column)` float32; 0 outside the mask.
        dm_clean: The same without noise.
        sigma: Standard deviation of the noise in `dm`, in units of M0.
        physics: Constants with which the signal was made.
    """

    phantom: Phantom
    dm: NDArray[np.float32]
    dm_clean: NDArray[np.float32]
    sigma: float
    physics: ScanPhysics


def simulate(
    phantom: PhantomConfig | Phantom,
    noise: AslNoise,
    protocol: AslProtocol,
    physics: AslPhysics | PhysicsRange | None,
    rng: np.random.Generator,
) -> SimulatedScan:
    """Simulate the scan of one slice.

    Args:
        phantom: How to draw the slice, or the slice.
        noise: How noisy.
        protocol: Delays as the scanner states them.
        physics: Constants, or the ranges from which those of this scan are drawn; standard if not given.
        rng: Source of everything random.

    Returns:
        The scan and its truth.
    """
    slice_ = make_phantom(phantom, rng) if isinstance(phantom, PhantomConfig) else phantom
    scan = physics.draw(rng) if isinstance(physics, PhysicsRange) else ScanPhysics(physics or AslPhysics())
    clean = clean_signal(slice_.cbf, slice_.att, slice_.mask, protocol, scan)
    noisy, sigma = add_noise(clean, noise, rng, static=noise.static_fraction * slice_.mask)
    return SimulatedScan(slice_, noisy * slice_.mask, clean, sigma, scan)


def clean_signal(
    cbf: NDArray[Any], att: NDArray[Any], mask: NDArray[np.bool_], protocol: AslProtocol, scan: ScanPhysics
) -> NDArray[np.float32]:
    """Difference images without noise.

    Args:
        cbf: `(row, column)`, ml/100g/min.
        att: Likewise, ms.
        mask: Likewise, where there is signal.
        protocol: Delays as the scanner states them.
        scan: Constants of the scan.

    Returns:
        `(channel, row, column)` in units of M0, float32; 0 outside the mask.
    """
    inside = signal(cbf[mask], att[mask], scan.protocol(protocol), scan.physics)
    clean = np.zeros((protocol.n_channels, *mask.shape), np.float32)
    clean[:, mask] = inside.T * scan.m0_scale
    return clean
