"""MONAI dictionary transforms that simulate scans: phantom, constants, signal, noise.

Images are `(channel, row, column)` float32 tensors; the truth is under `cbf`, `att` and `mask`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import Randomizable, Transform

from revoxel.asl.physics import AslPhysics
from revoxel.asl.simulation.noise import AslNoise, add_noise
from revoxel.asl.simulation.phantom import PhantomConfig, make_phantom
from revoxel.asl.simulation.physics_range import PHYSICS_NAMES, PhysicsRange, ScanPhysics
from revoxel.asl.simulation.simulated_scans import clean_signal

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from revoxel.asl.protocol import AslProtocol

Data = dict["Hashable", Any]


class RandAslPhantomd(Randomizable, Transform):
    """Draw a slice: `cbf` (ml/100g/min), `att` (ms), `mask`, `tissue` and `lesion`, each `(1, row, column)`.

    Args:
        phantom: How slices are drawn.
    """

    def __init__(self, phantom: PhantomConfig) -> None:
        self.phantom = phantom

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Draw.

        Args:
            data: Item; what it has is kept.

        Returns:
            Item with a truth.
        """
        drawn = make_phantom(self.phantom, _generator(self.R))
        names = ("cbf", "att", "mask", "tissue", "lesion")
        return {**data, **{name: _image(getattr(drawn, name)[None]) for name in names}}


class RandAslPhysicsd(Randomizable, Transform):
    """Draw the constants of a scan, by the names of `PHYSICS_NAMES`; `SimulateAsld` puts them into the data.

    Args:
        ranges: What varies, and within which limits.
    """

    def __init__(self, ranges: PhysicsRange) -> None:
        self.ranges = ranges

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Draw.

        Args:
            data: Item.

        Returns:
            Item with one number per constant.
        """
        item = dict(data)
        item.update(self.ranges.draw(_generator(self.R)).values.items())
        return item


class SimulateAsld(Transform):
    """Difference images without noise from maps: `dm`, in units of M0.

    Args:
        protocol: Delays as the scanner states them.
        physics: Constants, but for those that the item names; the standard ones if not given.
    """

    def __init__(self, protocol: AslProtocol, physics: AslPhysics | None = None) -> None:
        self.protocol, self.physics = protocol, physics or AslPhysics()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Compute the signal, with the constants of `RandAslPhysicsd` where there are any.

        Args:
            data: Item with `cbf`, `att` and `mask`, a phantom's or a person's.

        Returns:
            Item with `dm` `(channel, row, column)`; 0 outside the mask.
        """
        scan = ScanPhysics.of({name: data[name] for name in PHYSICS_NAMES if name in data}, self.physics)
        cbf, att, mask = (np.asarray(data[name])[0] for name in ("cbf", "att", "mask"))
        return {**data, "dm": _image(clean_signal(cbf, att, mask.astype(bool), self.protocol, scan))}


class RandAslNoised(Randomizable, Transform):
    """Put noise on control and label images behind `dm`; `sigma` says how much a difference image has.

    Args:
        noise: Kind and level.
    """

    def __init__(self, noise: AslNoise) -> None:
        self.noise = noise

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Acquire.

        Args:
            data: Item of `SimulateAsld`.

        Returns:
            Item with noisy `dm`, 0 outside the mask, and `sigma` in units of M0.
        """
        mask = np.asarray(data["mask"])
        static = self.noise.static_fraction * mask[0]
        noisy, sigma = add_noise(np.asarray(data["dm"]), self.noise, _generator(self.R), static)
        return {**data, "dm": _image(noisy * mask), "sigma": sigma}


def _generator(state: np.random.RandomState) -> np.random.Generator:
    """A generator as our functions take it, decided by MONAI's."""
    return np.random.default_rng(state.randint(2**32, dtype=np.uint64))


def _image(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
