"""Simulated slices for the training of networks: new ones all the time, each shown a few times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from revoxel.asl.network.channels import AslChannels, LabelMap, stack_targets
from revoxel.asl.network.inputs import SliceData, network_input
from revoxel.asl.physics import AslPhysics
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.physics_range import PhysicsRange
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL, simulate

if TYPE_CHECKING:
    from revoxel.asl.simulation.simulated_scans import SimulatedScan

    Item = dict[str, torch.Tensor]

_RANDOM_PLDS_MS = (300.0, 3500.0)
_SHORTEST_STEP_MS = 150.0


@dataclass(frozen=True)
class SliceRecipe:
    """How slices are simulated and shown to a network.

    Args:
        phantom: How slices are drawn.
        noise: Noise of each; its SNR60 is replaced by one from `snr_range`.
        snr_range: SNR60, drawn evenly on a logarithmic scale.
        variation: How the constants vary from slice to slice: `none`, `default`, `wide`, or ranges by name.
        physics_known: Whether the fit and the network are told these constants.
        noise_known: Whether they are told the noise; else it is estimated.
        random_protocols: Draw the delays of every slice anew (for networks without signals).
        protocol: The delays otherwise.
        physics: Constants where they do not vary, and what is assumed where they are not known.

    Raises:
        ValueError: If the range is not positive and ascending.
    """

    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    noise: AslNoise = field(default_factory=AslNoise)
    snr_range: tuple[float, float] = (3.0, 30.0)
    variation: str | Mapping[str, tuple[float, float]] = "none"
    physics_known: bool = True
    noise_known: bool = True
    random_protocols: bool = False
    protocol: AslProtocol = JOINT_PROTOCOL
    physics: AslPhysics = field(default_factory=AslPhysics)

    def __post_init__(self) -> None:
        low, high = self.snr_range
        if not 0 < low <= high:
            msg = f"snr_range must be positive and ascending, got {self.snr_range}; use [3, 30]."
            raise ValueError(msg)

    def draw(self, rng: np.random.Generator) -> tuple[SimulatedScan, AslProtocol]:
        """Simulate a slice.

        Args:
            rng: Source of everything random.

        Returns:
            The scan and its delays.
        """
        snr = float(np.exp(rng.uniform(*np.log(self.snr_range))))
        protocol = random_protocol(rng) if self.random_protocols else self.protocol
        noise = AslNoise(self.noise.kind, snr, self.noise.static_fraction, self.noise.components)
        return simulate(self.phantom, noise, protocol, self._physics(), rng), protocol

    def _physics(self) -> PhysicsRange:
        if isinstance(self.variation, str):
            return PhysicsRange.named(self.variation, self.physics)
        ranges: dict[str, Any] = {name: tuple(limits) for name, limits in self.variation.items()}
        return PhysicsRange(**ranges, base=self.physics)

    def item(self, scan: SimulatedScan, protocol: AslProtocol, *, clean: bool = False) -> Item:
        """Turn a scan into what a network and its loss take.

        Args:
            scan: The scan.
            protocol: Its delays.
            clean: Put the signals without noise into the label, instead of the measured ones.

        Returns:
            `image` as `AslChannels` has it, and `label` as `stack_targets` builds it.
        """
        mask = torch.from_numpy(scan.phantom.mask)
        dm = torch.from_numpy(np.ascontiguousarray(scan.dm))
        sigma = torch.tensor([scan.sigma], dtype=torch.float32)
        channels = AslChannels(0 if self.random_protocols else protocol.n_channels)
        image = network_input(
            SliceData(dm[None], mask[None], sigma if self.noise_known else None),
            protocol,
            scan.physics.physics if self.physics_known else self.physics,
            channels=channels,
        )[0]
        targets = {
            LabelMap.cbf: torch.from_numpy(scan.phantom.cbf)[None],
            LabelMap.att: torch.from_numpy(scan.phantom.att)[None],
            LabelMap.mask: mask[None].float(),
            LabelMap.sigma: sigma[:, None, None],
        }
        signals = torch.from_numpy(np.ascontiguousarray(scan.dm_clean)) if clean else dm
        return {"image": image, "label": stack_targets(targets, signals[: channels.n_signal])}


class SliceBank(Dataset[dict[str, torch.Tensor]]):
    """A bank of slices of which some are replaced by new ones in every epoch.

    The item of an index is always the same: `index = epoch * n_slices + slot`. Fitting a slice takes longer
    than a step of training, so each is shown in `n_shows` epochs, every time turned or mirrored.

    Args:
        recipe: How slices are simulated.
        n_slices: Slices of an epoch.
        seed: Decides all of them; other seeds share none.
        n_shows: Epochs that a slice stays; 0 for ever, and as it is (validation).
        clean: Put the signals without noise into the label.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self, recipe: SliceRecipe, n_slices: int, *, seed: int = 0, n_shows: int = 6, clean: bool = False
    ) -> None:
        if n_slices < 1 or seed < 0 or n_shows < 0:
            msg = f"n_slices must be >= 1, seed and n_shows >= 0, got {n_slices}, {seed}, {n_shows}."
            raise ValueError(msg)
        self.recipe, self.n_slices, self.seed = recipe, n_slices, seed
        self.n_shows, self.clean = n_shows, clean
        self._held: dict[int, tuple[int, Item]] = {}

    def __len__(self) -> int:
        return self.n_slices

    def __getitem__(self, index: int) -> dict[str, Any]:
        epoch, slot = divmod(index, self.n_slices)
        # Slots are replaced in turn, so that every epoch costs the same.
        generation = (epoch + slot % self.n_shows) // self.n_shows if self.n_shows else 0
        held = self._held.get(slot)
        if held is None or held[0] != generation:
            held = (generation, self._new(generation, slot))
            self._held[slot] = held
        return held[1] if not self.n_shows else _turned(held[1], np.random.default_rng((self.seed, 1, index)))

    def _new(self, generation: int, slot: int) -> Item:
        rng = np.random.default_rng((self.seed, 0, generation, slot))
        return self.recipe.item(*self.recipe.draw(rng), clean=self.clean)


def random_protocol(rng: np.random.Generator) -> AslProtocol:
    """Draw delays as scanners have them: three to seven of PCASL, half the time VSASL as well.

    Args:
        rng: Source of randomness.

    Returns:
        The protocol.
    """
    vsasl = _delays(rng) if rng.random() < 0.5 else ()
    duration = float(rng.choice([1400.0, 1600.0, 1800.0]))
    return AslProtocol(_delays(rng), duration, vsasl_plds_ms=vsasl)


def _delays(rng: np.random.Generator) -> tuple[float, ...]:
    steps = np.arange(*_RANDOM_PLDS_MS, _SHORTEST_STEP_MS)
    return tuple(sorted(float(pld) for pld in rng.choice(steps, rng.integers(3, 8), replace=False)))


def _turned(item: Item, rng: np.random.Generator) -> Item:
    n_quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    turned = {name: values.rot90(n_quarters, (-2, -1)) for name, values in item.items()}
    return {name: values.flip(-1) if mirrored else values for name, values in turned.items()}
