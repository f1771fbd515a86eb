"""Simulated scans: a phantom, its signal with constants of its own, and noise; for training and for tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

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
    clean = clean_signal(slice_, protocol, scan)
    noisy, sigma = add_noise(clean, noise, rng, static=noise.static_fraction * slice_.mask)
    return SimulatedScan(slice_, noisy * slice_.mask, clean, sigma, scan)


def clean_signal(phantom: Phantom, protocol: AslProtocol, scan: ScanPhysics) -> NDArray[np.float32]:
    """Difference images without noise.

    Args:
        phantom: The slice.
        protocol: Delays as the scanner states them.
        scan: Constants of the scan.

    Returns:
        `(channel, row, column)` in units of M0, float32; 0 outside the mask.
    """
    inside = signal(
        phantom.cbf[phantom.mask], phantom.att[phantom.mask], scan.protocol(protocol), scan.physics
    )
    clean = np.zeros((protocol.n_channels, *phantom.mask.shape), np.float32)
    clean[:, phantom.mask] = inside.T * scan.m0_scale
    return clean


@dataclass(frozen=True)
class SliceSampling:
    """Which simulated slices a data set holds.

    Args:
        n_slices: Number of items; every index is another slice.
        seed: Decides all of them; other seeds share none.
        crop: Rows and columns of a random window with brain in its middle; whole slices if not given.
        snr_range: SNR60 of each slice is drawn from here, evenly on a logarithmic scale; that of the noise
            if not given.

    Raises:
        ValueError: If a number is out of range.
    """

    n_slices: int
    seed: int = 0
    crop: int | None = None
    snr_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.n_slices < 1 or self.seed < 0 or (self.crop is not None and self.crop < 1):
            msg = (
                f"n_slices and crop must be >= 1 and seed >= 0, got {self.n_slices}, {self.crop} and "
                f"{self.seed}; correct them."
            )
            raise ValueError(msg)
        if self.snr_range is not None and not 0 < self.snr_range[0] <= self.snr_range[1] < np.inf:
            msg = f"snr_range must be positive and ascending, got {self.snr_range}; correct it."
            raise ValueError(msg)


class SimulatedSlices(Dataset[dict[str, Any]]):
    """Endless variety under a fixed seed: item `i` is the same in every epoch, process and order.

    Items are dicts of float32 tensors: `image` `(channel, row, column)` in units of M0 and `clean`, the same
    without noise; `cbf` and `att` `(1, row, column)`; `mask` (bool), `tissue` and `lesion` (int8); and
    numbers: `sigma` (units of M0), `scale` (root mean square of the image inside the mask of the *whole*
    slice, before the crop), and the constants of the scan by the names of `PHYSICS_NAMES`.

    Args:
        phantom: How to draw slices.
        noise: How noisy.
        protocol: Delays as the scanner states them.
        physics: Constants, or ranges; standard if not given.
        sampling: How many slices, which seed, crop and noise levels.

    Raises:
        ValueError: If the crop is larger than the slice.
    """

    def __init__(
        self,
        phantom: PhantomConfig,
        noise: AslNoise,
        protocol: AslProtocol,
        physics: AslPhysics | PhysicsRange | None,
        sampling: SliceSampling,
    ) -> None:
        if sampling.crop is not None and sampling.crop > phantom.size:
            msg = f"crop must be at most the phantom's size {phantom.size}, got {sampling.crop}; reduce it."
            raise ValueError(msg)
        self.phantom, self.noise, self.protocol = phantom, noise, protocol
        self.physics, self.sampling = physics, sampling

    def __len__(self) -> int:
        return self.sampling.n_slices

    def scan(self, index: int) -> tuple[SimulatedScan, np.random.Generator]:
        """The whole scan behind an item.

        Args:
            index: Of the item.

        Returns:
            The scan, and the generator that drew it, for what comes after.

        Raises:
            IndexError: If there is no such item.
        """
        if not 0 <= index < len(self):
            msg = f"index must lie between 0 and {len(self) - 1}, got {index}; choose another."
            raise IndexError(msg)
        rng = np.random.default_rng((self.sampling.seed, index))
        noise = self.noise
        if self.sampling.snr_range is not None:
            noise = replace(noise, snr=float(np.exp(rng.uniform(*np.log(self.sampling.snr_range)))))
        return simulate(self.phantom, noise, self.protocol, self.physics, rng), rng

    def __getitem__(self, index: int) -> dict[str, Any]:
        scan, rng = self.scan(index)
        phantom = scan.phantom
        window = _window(phantom.mask, self.sampling.crop, rng)
        maps = {"cbf": phantom.cbf, "att": phantom.att, "mask": phantom.mask}
        labels = {"tissue": phantom.tissue, "lesion": phantom.lesion}
        numbers = {"sigma": scan.sigma, "scale": rms(scan.dm, phantom.mask), **scan.physics.values}
        return {
            "image": _tensor(scan.dm[:, *window]),
            "clean": _tensor(scan.dm_clean[:, *window]),
            **{name: _tensor(values[None, *window]) for name, values in (maps | labels).items()},
            **{name: torch.tensor(value, dtype=torch.float32) for name, value in numbers.items()},
        }


def rms(dm: NDArray[Any], mask: NDArray[np.bool_]) -> float:
    """Root mean square of difference images inside a mask, over all channels.

    Args:
        dm: `(channel, ...)`.
        mask: Without the channel.

    Returns:
        In the units of `dm`; 0 if the mask is empty.
    """
    inside = dm[:, mask]
    return float(np.sqrt(np.mean(inside**2))) if inside.size else 0.0


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def _window(mask: NDArray[np.bool_], crop: int | None, rng: np.random.Generator) -> tuple[slice, slice]:
    """A random window whose middle lies in the mask, as far as the borders let it."""
    if crop is None:
        return slice(None), slice(None)
    inside = np.flatnonzero(mask)
    middle = rng.choice(inside) if len(inside) else rng.integers(mask.size)
    starts = [
        int(np.clip(position - crop // 2, 0, length - crop))
        for position, length in zip(np.unravel_index(middle, mask.shape), mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + crop), slice(starts[1], starts[1] + crop)
