"""Noise of an ASL scan, laid on control and label images before they are subtracted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.physics import signal
from revoxel.asl.protocol import AslProtocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[Any]

REFERENCE_CBF_ML_100G_MIN = 60.0
REFERENCE_ATT_MS = 1500.0
REFERENCE_PLD_MS = 2000.0
_PHYSIO_SIGMAS = (0.03, 0.15)
_DRIFT_SIGMAS = 0.03


class NoiseKind(StrEnum):
    """Distribution of the thermal noise."""

    GAUSSIAN = "gaussian"
    #: Magnitude of a complex image.
    RICIAN = "rician"


class NoiseComponent(StrEnum):
    """What disturbs the images."""

    THERMAL = "thermal"
    #: A sinusoid over the images, 3 to 15 % of the thermal sigma.
    PHYSIO = "physio"
    #: A ramp over the images, at most 3 % of the thermal sigma.
    DRIFT = "drift"


@dataclass(frozen=True)
class AslNoise:
    """How noisy a scan is.

    Args:
        kind: Distribution of the thermal noise.
        snr: SNR60: the difference signal of PCASL at CBF 60 ml/100g/min, ATT 1500 ms, PLD 2000 ms and
            LD 1800 ms with the standard constants, over the standard deviation of a difference image.
        static_fraction: Static tissue that background suppression leaves in control and label, in units
            of M0.
        components: What disturbs the images.

    Raises:
        ValueError: If a name is unknown or a number is not positive.
    """

    kind: NoiseKind | str = NoiseKind.GAUSSIAN
    snr: float = 10.0
    static_fraction: float = 0.05
    components: tuple[NoiseComponent | str, ...] = tuple(NoiseComponent)

    def __post_init__(self) -> None:
        if self.kind not in set(NoiseKind) or not set(self.components) <= set(NoiseComponent):
            msg = (
                f"kind must be one of {', '.join(NoiseKind)} and components of {', '.join(NoiseComponent)}, "
                f"got {self.kind!r} and {self.components}; choose from these."
            )
            raise ValueError(msg)
        if not (0 < self.snr < np.inf and 0 < self.static_fraction <= 1):
            msg = (
                f"snr must be > 0 and static_fraction between 0 and 1, got {self.snr} and "
                f"{self.static_fraction}; correct them."
            )
            raise ValueError(msg)

    @property
    def sigma(self) -> float:
        """Standard deviation of the thermal noise in a difference image, in units of M0."""
        return reference_signal() / self.snr


@cache
def reference_signal() -> float:
    """Difference signal that SNR60 refers to.

    Returns:
        Signal in units of M0.
    """
    protocol = AslProtocol(pcasl_plds_ms=(REFERENCE_PLD_MS,), pcasl_labelling_durations_ms=1800.0)
    return signal(np.array(REFERENCE_CBF_ML_100G_MIN), np.array(REFERENCE_ATT_MS), protocol).item()


def control_and_label(
    difference: Images, noise: AslNoise, rng: np.random.Generator, static: Images | float | None = None
) -> tuple[Images, Images]:
    """Acquire the two images of every channel.

    Args:
        difference: Difference signal without noise, `(channel, ...)`, in units of M0.
        noise: How noisy.
        rng: Source of randomness.
        static: Static tissue in units of M0, broadcast with an image; `noise.static_fraction` if not given.

    Returns:
        Control and label images, each of the shape of `difference`, float32.
    """
    clean = np.asarray(difference, dtype=np.float32)
    control = np.broadcast_to(np.float32(noise.static_fraction if static is None else static), clean.shape)
    both = np.stack([control, control - clean])
    # Both images share the noise of their difference: its variance is the sum of theirs.
    sigma = np.float32(noise.sigma / np.sqrt(2))
    both += _slow_changes(clean, noise, rng)
    if NoiseComponent.THERMAL in noise.components:
        both += sigma * rng.standard_normal(both.shape, dtype=np.float32)
        if noise.kind == NoiseKind.RICIAN:
            both = np.hypot(both, sigma * rng.standard_normal(both.shape, dtype=np.float32))
    elif noise.kind == NoiseKind.RICIAN:
        both = np.abs(both)
    return both[0], both[1]


def add_noise(
    difference: Images, noise: AslNoise, rng: np.random.Generator, static: Images | float | None = None
) -> tuple[Images, float]:
    """Acquire noisy difference images.

    Args:
        difference: Difference signal without noise, `(channel, ...)`, in units of M0.
        noise: How noisy.
        rng: Source of randomness.
        static: Static tissue in units of M0, broadcast with an image; `noise.static_fraction` if not given.

    Returns:
        Control minus label, of the shape of `difference`, float32, and the standard deviation of its
        thermal noise in units of M0.
    """
    control, label = control_and_label(difference, noise, rng, static)
    return control - label, noise.sigma


def _slow_changes(clean: Images, noise: AslNoise, rng: np.random.Generator) -> Images:
    """Physiological and scanner changes of whole images, `(2, channel, 1, ...)`: control, then label."""
    n_images = 2 * len(clean)
    # In the order of acquisition: control and label alternate.
    time = np.linspace(0, 1, n_images)
    changes = np.zeros(n_images)
    if NoiseComponent.PHYSIO in noise.components:
        cycles, phase = rng.uniform(0.1, 0.5) * n_images, rng.uniform(0, 2 * np.pi)
        changes += rng.uniform(*_PHYSIO_SIGMAS) * np.sin(2 * np.pi * cycles * time + phase)
    if NoiseComponent.DRIFT in noise.components:
        changes += rng.uniform(-_DRIFT_SIGMAS, _DRIFT_SIGMAS) * (2 * time - 1)
    by_pair = (noise.sigma * changes).astype(np.float32).reshape(-1, 2)
    return by_pair.T.reshape(2, -1, *(1,) * (clean.ndim - 1))
