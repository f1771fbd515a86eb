"""Constants that differ from scan to scan: drawn for the data themselves, and told."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from revoxel.asl.physics import AslPhysics

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from revoxel.asl.protocol import AslProtocol

    Range = tuple[float, float]

#: Names of what a scan's constants are, in the order of `ScanPhysics.values`.
PHYSICS_NAMES = (
    "t1_blood_ms",
    "alpha_pcasl",
    "alpha_vsasl",
    "alpha_bs",
    "labelling_duration_scale",
    "m0_scale",
)
_SCALES = ("labelling_duration_scale", "m0_scale")


class PhysicsVariation(StrEnum):
    """How much the constants vary."""

    NONE = "none"
    #: Ranges of the project that this package grew from.
    DEFAULT = "default"
    #: Half as wide again.
    WIDE = "wide"


@dataclass(frozen=True)
class ScanPhysics:
    """Constants with which one scan was made.

    Attributes:
        physics: Of the signal.
        labelling_duration_scale: True labelling duration over that of the protocol.
        m0_scale: Factor on the difference images: an error of M0.
    """

    physics: AslPhysics
    labelling_duration_scale: float = 1.0
    m0_scale: float = 1.0

    @classmethod
    def of(cls, values: Mapping[str, float], base: AslPhysics) -> ScanPhysics:
        """Constants from what varies.

        Args:
            values: By some of the names of `PHYSICS_NAMES`.
            base: The others.

        Returns:
            The constants.
        """
        scales = {name: value for name, value in values.items() if name in _SCALES}
        physics: dict[str, Any] = {name: value for name, value in values.items() if name not in _SCALES}
        return cls(replace(base, **physics), **scales)

    @property
    def values(self) -> dict[str, float]:
        """What may vary, by the names of `PHYSICS_NAMES`."""
        return {
            name: float(getattr(self if name in _SCALES else self.physics, name)) for name in PHYSICS_NAMES
        }

    def protocol(self, nominal: AslProtocol) -> AslProtocol:
        """The delays as they truly were.

        Args:
            nominal: As the scanner stated them.

        Returns:
            The same with labelling durations scaled.
        """
        if not nominal.pcasl_plds_ms:
            return nominal
        durations = tuple(duration * self.labelling_duration_scale for duration in nominal.durations_ms)
        return replace(nominal, pcasl_labelling_durations_ms=durations)


@dataclass(frozen=True)
class PhysicsRange:
    """Ranges from which the constants of each scan are drawn evenly; `None`: as in `base`.

    Args:
        t1_blood_ms: Relaxation time of blood, ms.
        alpha_pcasl: Labelling efficiency of PCASL.
        alpha_vsasl: Labelling efficiency of VSASL.
        alpha_bs: Efficiency of one background suppression pulse.
        labelling_duration_scale: True labelling duration over that of the protocol.
        m0_scale: Factor on the difference images: an error of M0.
        base: What does not vary.

    Raises:
        ValueError: If a range is not a positive pair in ascending order.
    """

    t1_blood_ms: Range | None = None
    alpha_pcasl: Range | None = None
    alpha_vsasl: Range | None = None
    alpha_bs: Range | None = None
    labelling_duration_scale: Range | None = None
    m0_scale: Range | None = None
    base: AslPhysics = field(default_factory=AslPhysics)

    def __post_init__(self) -> None:
        for name in PHYSICS_NAMES:
            limits = getattr(self, name)
            if limits is not None and not 0 < limits[0] <= limits[1]:
                msg = f"{name} must be a positive range in ascending order, got {limits}; correct it."
                raise ValueError(msg)

    @classmethod
    def named(cls, variation: PhysicsVariation | str, base: AslPhysics | None = None) -> PhysicsRange:
        """Take a set of ranges.

        Args:
            variation: `none`, `default` or `wide`.
            base: What does not vary; the standard constants if not given.

        Returns:
            The ranges.

        Raises:
            ValueError: If there is no such set.
        """
        if variation not in set(PhysicsVariation):
            msg = f"physics must vary by one of {', '.join(PhysicsVariation)}, got {variation!r}; choose one."
            raise ValueError(msg)
        return cls(**_RANGES[PhysicsVariation(variation)], base=base or AslPhysics())

    @property
    def limits(self) -> dict[str, Range]:
        """What varies, and within which limits."""
        ranges = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "base"}
        return {name: limits for name, limits in ranges.items() if limits is not None}

    def draw(self, rng: np.random.Generator) -> ScanPhysics:
        """Draw the constants of a scan.

        Args:
            rng: Source of randomness.

        Returns:
            The constants.
        """
        drawn = {name: float(rng.uniform(*limits)) for name, limits in self.limits.items()}
        return ScanPhysics.of(drawn, self.base)


_RANGES: dict[PhysicsVariation, dict[str, Range]] = {
    PhysicsVariation.NONE: {},
    PhysicsVariation.DEFAULT: {
        "t1_blood_ms": (1550.0, 2150.0),
        "alpha_pcasl": (0.75, 0.95),
        "alpha_vsasl": (0.40, 0.70),
        "alpha_bs": (0.85, 1.0),
        "labelling_duration_scale": (0.9, 1.1),
        "m0_scale": (0.9, 1.1),
    },
    PhysicsVariation.WIDE: {
        "t1_blood_ms": (1400.0, 2300.0),
        "alpha_pcasl": (0.70, 1.0),
        "alpha_vsasl": (0.325, 0.775),
        "alpha_bs": (0.775, 1.0),
        "labelling_duration_scale": (0.85, 1.15),
        "m0_scale": (0.85, 1.15),
    },
}
