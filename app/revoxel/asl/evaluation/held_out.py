"""Held-out simulated scans: the same voxels, noise and truth for every method that is compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from revoxel.asl.evaluation.regions import Truth, named_maps
from revoxel.asl.fitting.fit import fit_dictionary
from revoxel.asl.physics import AslPhysics, cramer_rao
from revoxel.asl.quantification.estimation import MapProblem, PerfusionMaps
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig, make_phantom
from revoxel.asl.simulation.physics_range import PhysicsRange
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL, simulate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from revoxel.asl.evaluation.regions import Stack
    from revoxel.asl.protocol import AslProtocol
    from revoxel.asl.quantification.estimation import MapEstimator
    from revoxel.asl.simulation.simulated_scans import SimulatedScan

# First of the three numbers that seed a scan, where training has two: no scan is ever trained on.
_STREAM = 20260


@dataclass(frozen=True)
class ScanRecipe:
    """Which scans are held out.

    Args:
        phantom: How slices are drawn.
        noise: How noisy they are.
        protocol: Delays as the scanner states them.
        physics: Constants of the signal, or ranges of them.
        assumed: Constants that the methods are told.
        n_phantoms: How many slices.
        seed: Decides all of them.

    Raises:
        ValueError: If there is no slice.
    """

    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    noise: AslNoise = field(default_factory=AslNoise)
    protocol: AslProtocol = JOINT_PROTOCOL
    physics: AslPhysics | PhysicsRange = field(default_factory=AslPhysics)
    assumed: AslPhysics = field(default_factory=AslPhysics)
    n_phantoms: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_phantoms < 1:
            msg = f"n_phantoms must be >= 1, got {self.n_phantoms}; 20 or more give useful intervals."
            raise ValueError(msg)

    def for_tuning(self, n_phantoms: int) -> ScanRecipe:
        """The same kind of scans, none of them among the held-out ones.

        Args:
            n_phantoms: How many.
        """
        return replace(self, n_phantoms=n_phantoms, seed=self.seed + 2**31)


@dataclass(frozen=True, eq=False)
class HeldOutScans:
    """Scans and their truth.

    Attributes:
        recipe: How they were made.
        truth: Maps `(phantom, row, column)`, with the Cramer-Rao bound of the true constants.
        dm: Difference images, `(phantom, row, column, channel)`, in units of M0.
        sigma: Standard deviation of their noise, in units of M0.
    """

    recipe: ScanRecipe
    truth: Truth
    dm: NDArray[np.float32]
    sigma: float

    @property
    def fingerprint(self) -> str:
        """SHA-256 of images and truth: equal for two runs that scored the same scans."""
        parts = (self.dm, self.truth.cbf, self.truth.att, self.truth.mask)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

    def problem(self) -> MapProblem:
        """What a method is given: images, mask, delays, assumed constants and noise, and no truth."""
        n_channels = self.recipe.protocol.n_channels
        return MapProblem(
            dm=np.ascontiguousarray(np.moveaxis(self.dm, 0, 2)),
            mask=np.ascontiguousarray(np.moveaxis(self.truth.mask, 0, 2)),
            protocol=self.recipe.protocol,
            physics=self.recipe.assumed,
            sigma=np.full(n_channels, self.sigma),
        )

    def estimate(self, methods: dict[str, MapEstimator]) -> dict[str, PerfusionMaps]:
        """Run methods on the scans.

        Args:
            methods: By name.

        Returns:
            Their maps, `(phantom, row, column)`.
        """
        problem = self.problem()
        fit = fit_dictionary(
            problem.dm, problem.protocol, problem.physics, sigma=problem.sigma, mask=problem.mask
        )
        return {name: _phantom_first(method(problem, fit)) for name, method in methods.items()}


def make_scans(recipe: ScanRecipe) -> HeldOutScans:
    """Simulate held-out scans; the same phantoms at every noise level and for all constants.

    Args:
        recipe: Which.

    Returns:
        The scans.
    """
    scans = [_scan(recipe, index) for index in range(recipe.n_phantoms)]
    phantoms = [scan.phantom for scan in scans]
    cbf, att = np.stack([item.cbf for item in phantoms]), np.stack([item.att for item in phantoms])
    bounds = [_bound(scan, recipe.protocol) for scan in scans]
    truth = Truth(
        cbf=cbf,
        att=att,
        mask=np.stack([item.mask for item in phantoms]),
        tissue=np.stack([item.tissue for item in phantoms]),
        lesion=np.stack([item.lesion for item in phantoms]),
        cbf_bound=np.stack([bound[0] for bound in bounds]),
        att_bound=np.stack([bound[1] for bound in bounds]),
    )
    dm = np.stack([np.moveaxis(scan.dm, 0, -1) for scan in scans])
    return HeldOutScans(recipe, truth, dm, recipe.noise.sigma)


def _scan(recipe: ScanRecipe, index: int) -> SimulatedScan:
    # A generator for the phantom and one for the rest: other noise or constants leave the phantom as it is.
    drawing, scanning = np.random.default_rng((_STREAM, recipe.seed, index)).spawn(2)
    phantom = make_phantom(recipe.phantom, drawing)
    return simulate(phantom, recipe.noise, recipe.protocol, recipe.physics, scanning)


def _bound(scan: SimulatedScan, protocol: AslProtocol) -> tuple[Stack, Stack]:
    actual = scan.physics.protocol(protocol)
    return cramer_rao(scan.phantom.cbf, scan.phantom.att, actual, scan.sigma, scan.physics.physics)


def _phantom_first(maps: PerfusionMaps) -> PerfusionMaps:
    return PerfusionMaps(**{name: np.moveaxis(values, 2, 0) for name, values in named_maps(maps).items()})
