"""Before anything is computed: read the scan, choose pulse, grid and gate, refuse what cannot work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.compute import resolve_device
from revoxel.core.geometry import isotropic_grid, slice_axis
from revoxel.core.provenance import sha256_of
from revoxel.core.pulse_names import pulse_of
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import Volume, read_volume, volume_stem
from revoxel.experts.names import Expert
from revoxel.sagnef.gates import Gate, cautious_weights, find_gate, simplex_weights
from revoxel.sagnef.naming import OutputPaths

if TYPE_CHECKING:
    from revoxel.core.geometry import Grid
    from revoxel.experts.profiles import SliceProfile
    from revoxel.sagnef.network import SAGNEF
    from revoxel.sagnef.stack import ExpertStack


class FusionKind(StrEnum):
    """How the experts are combined."""

    GATE = "gate"
    SIMPLEX = "simplex"
    MEAN = "mean"


@dataclass(frozen=True, kw_only=True)
class SuperresolveSettings:
    """Choices of the main job; the defaults are what a user should try first.

    Args:
        pulse: A pulse, or `auto` to read it from the file name or sidecar.
        profile: Slice profile; estimated from the scan if not given.
        voxel_mm: Isotropic voxel size in mm; `None` keeps the in-plane size.
        fusion: How the experts are combined.
        allow_extrapolation: Use the nearest model for slice separations that none was trained for.
        exact: Reference path of the gate instead of the fast one.
        consistency: Pull the result onto the measured slices.
        keep_experts: Keep the experts' volumes beside the result.
        companions: Further pulses of the same patient, for joint total variation.
        external: Executables of original tools, per expert.
        cold: Tune the learned experts from nothing.
        memory_gb: Bound for the gate's activations.
        device: `auto`, `cpu` or `cuda:N`.
        seed: Seed of everything random.
        overwrite: Replace results that exist.
    """

    pulse: str = "auto"
    profile: SliceProfile | None = None
    voxel_mm: float | None = 1.0
    fusion: FusionKind = FusionKind.GATE
    allow_extrapolation: bool = False
    exact: bool = False
    consistency: bool = True
    keep_experts: bool = True
    companions: Mapping[Pulse, Path] = field(default_factory=dict)
    external: Mapping[Expert, Path] = field(default_factory=dict)
    cold: bool = False
    memory_gb: float = 0.5
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class FusionChoice:
    """What combines the experts.

    Args:
        kind: What will really be used.
        gate: The trained gate; `None` for global weights.
        weights: Global weights by expert: the fusion without a gate, the fall-back with one.
        warnings: What the user should know.
    """

    kind: FusionKind
    gate: Gate | None
    weights: Mapping[Expert, float]
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The gate's bundle, or what stands in for a gate."""
        return self.gate.name if self.gate else "one weight per expert for the whole volume"

    @property
    def window(self) -> int:
        """Side of the gate's window in voxels."""
        return self.gate.window if self.gate else 64

    @property
    def convention(self) -> Mapping[str, Any] | None:
        """Mode and percentiles of the gate's intensity map; `None` for the default."""
        return self.gate.protocol["intensity"] if self.gate else None

    def weights_for(self, stack: ExpertStack) -> list[float]:
        """Global weights in the order of a stack."""
        return [self.weights[expert] for expert in stack.order]

    def for_stack(self, stack: ExpertStack) -> SAGNEF | list[float]:
        """What `fuse` takes: the network, or global weights in the order of a stack.

        Args:
            stack: The experts.

        Raises:
            ValueError: If the gate was trained with other experts.
        """
        if self.gate is None:
            return self.weights_for(stack)
        if self.gate.experts != stack.order:
            msg = (
                f"{self.gate.path} must be given the experts {', '.join(self.gate.experts)}, got "
                f"{', '.join(stack.order)}; make the missing ones (revoxel experts)."
            )
            raise ValueError(msg)
        return self.gate.network

    def when_misled(self, cautious: Mapping[Expert, float] | None = None) -> FusionChoice:
        """What to use when the experts were told a wrong slice profile.

        Args:
            cautious: Global weights for such experts; the shipped ones by default.

        Returns:
            The same for a gate that the profile modulates, which was trained on such experts, and for the
            mean; else cautious global weights.
        """
        if self.kind is FusionKind.MEAN or (self.gate and self.gate.network.modulation):
            return self
        return replace(self, kind=FusionKind.SIMPLEX, gate=None, weights=cautious or cautious_weights())

    def record(self) -> dict[str, str | None]:
        """What the JSON says about it."""
        checksum = sha256_of(self.gate.path) if self.gate else None
        return {"fusion": self.kind, "gate": self.name, "gate_sha256": checksum}


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be done with one scan; nothing is computed yet.

    Args:
        scan: The thick-slice scan.
        companions: Further pulses of the same patient.
        pulse: Pulse of the scan.
        axis: Its slice axis.
        grid: Grid of the result.
        fusion: What combines the experts.
        paths: Where results go.
        warnings: What the user should know beforehand.
    """

    scan: Volume
    companions: Mapping[Pulse, Volume]
    pulse: Pulse
    axis: int
    grid: Grid
    fusion: FusionChoice
    paths: OutputPaths
    warnings: tuple[str, ...]

    @property
    def separation_mm(self) -> float:
        """Distance between slice centres in mm."""
        return self.scan.grid.spacing_mm[self.axis]


def plan_superresolve(path: Path, out_dir: Path, settings: SuperresolveSettings) -> Plan:
    """Read the scan and choose pulse, grid and gate; refuse what cannot work before any computing.

    Args:
        path: NIfTI, NRRD or MHA file, or a DICOM series folder.
        out_dir: Where results will go.
        settings: Choices.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If the scan or a companion does not exist.
        ValueError: If the scan is no usable thick-slice volume, or no model fits.
        FileExistsError: If results exist and `overwrite` is off.
    """
    resolve_device(settings.device)  # an absent device must not be found after a minute of computing
    paths = OutputPaths(out_dir, volume_stem(path))
    paths.refuse_existing(overwrite=settings.overwrite)
    scan = read_volume(path)
    pulse = pulse_of(path, settings.pulse)
    axis = slice_axis(scan.grid)
    separation_mm = scan.grid.spacing_mm[axis]
    spacing = Spacing.from_separation(separation_mm, allow_extrapolation=settings.allow_extrapolation)
    fusion = choose_fusion(settings.fusion, pulse, spacing)
    return Plan(
        scan=scan,
        companions={pulse: read_volume(companion) for pulse, companion in settings.companions.items()},
        pulse=pulse,
        axis=axis,
        grid=isotropic_grid(scan.grid, axis, settings.voxel_mm),
        fusion=fusion,
        paths=paths,
        warnings=(*scan.notes, *_extrapolated(separation_mm, spacing), *fusion.warnings),
    )


def choose_fusion(kind: FusionKind, pulse: Pulse, spacing: Spacing) -> FusionChoice:
    """Find the gate, or the global weights that stand in for it.

    Args:
        kind: What the user asked for.
        pulse: Pulse of the scan.
        spacing: Spacing of the model.

    Returns:
        What will really be used, with a warning if it is not what was asked for.
    """
    if kind is FusionKind.MEAN:
        return FusionChoice(kind, None, {expert: 1.0 / len(Expert) for expert in Expert})
    weights = simplex_weights(pulse, spacing)
    if kind is FusionKind.SIMPLEX:
        return FusionChoice(kind, None, weights)
    gate = find_gate(pulse, spacing)
    if gate is None:
        note = f"no gate is shipped for {pulse} at {spacing}: global weights (simplex) are used instead"
        return FusionChoice(FusionKind.SIMPLEX, None, weights, (note,))
    return FusionChoice(kind, gate, weights)


def _extrapolated(separation_mm: float, spacing: Spacing) -> tuple[str, ...]:
    low_mm, high_mm = spacing.range_mm
    if low_mm <= separation_mm <= high_mm:
        return ()
    return (f"slices {separation_mm:g} mm apart lie outside what the {spacing} model was trained for",)


def check_spacing(spacing: Spacing, separation_mm: float, *, allow_extrapolation: bool) -> None:
    """Refuse a model for slices that it was not trained for.

    Args:
        spacing: Spacing of the model.
        separation_mm: Distance between the scan's slice centres.
        allow_extrapolation: Accept it all the same.

    Raises:
        ValueError: If the separation is out of the model's range.
    """
    low_mm, high_mm = spacing.range_mm
    if not allow_extrapolation and not low_mm <= separation_mm <= high_mm:
        msg = (
            f"the {spacing} model takes slices {low_mm:g}-{high_mm:g} mm apart, got {separation_mm:g} mm; "
            "choose another --spacing, or pass --allow-extrapolation."
        )
        raise ValueError(msg)
