"""The rows that need more than the experts and the truth: consistency, gates, and what superresolve does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from revoxel.core.geometry import slice_axis
from revoxel.experts.estimate_profile import ProfileEstimate, estimate_profile
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.sagnef.baselines import mix
from revoxel.sagnef.consistency import consistency_strength, data_consistency
from revoxel.sagnef.fusion import FusionSettings, ScanData, fuse
from revoxel.sagnef.planning import FusionChoice, FusionKind
from revoxel.sagnef.predict import excess_sharpness_of, scan_over_stack
from revoxel.sagnef.profile_trust import ProfileTrust, judge_profile, judge_sharpness, profile_widths
from revoxel.sagnef.stack import ExpertStack, ProfileWidths, intensity_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from revoxel.sagnef.comparison.fold_weights import FoldWeights
    from revoxel.sagnef.comparison.volumes import CaseVolumes
    from revoxel.sagnef.fusion import Fused
    from revoxel.sagnef.gates import Gate

    Rows = Iterator[tuple[str, NDArray[np.float32]]]

# Two labels of the same estimate may differ in their last digit.
_SAME_WIDTH = 0.01


class FusionRow(StrEnum):
    """Rows that a fusion gives."""

    TILES = "tiles"
    CAUTIOUS = "cautious"
    BEST_CONSISTENT = "best expert + consistency"
    CAUTIOUS_CONSISTENT = "cautious + consistency"
    CONTROL = "control gate"
    STRICT = "SAGNEF strict"
    RESIDUAL = "SAGNEF residual"
    CONSISTENT = "SAGNEF + consistency"
    SUPERRESOLVE = "superresolve"


@dataclass(frozen=True)
class RowSettings:
    """How gates are run.

    Args:
        device: `auto`, `cpu` or `cuda:N`.
        exact: Reference path of the gate.
        memory_gb: Bound for its activations.
    """

    device: str = "cpu"
    exact: bool = False
    memory_gb: float = 0.5


@dataclass
class Findings:
    """What rows find on the way.

    Args:
        gate: Volume and weights of the gate.
        decision: What superresolve decided, and why.
        notes: What a reader should know.
    """

    gate: Fused | None = None
    decision: str = ""
    notes: set[str] = field(default_factory=set)


@dataclass(frozen=True, eq=False)
class Contest:
    """One case and what is to be compared on it.

    Args:
        volumes: The case.
        weights: Of its fold.
        gate: The gate, if one is given.
        control: Another gate, on fewer experts, if one is given.
        settings: How gates are run.
        findings: What the rows found on the way: the gate's weights, and what superresolve decided.
    """

    volumes: CaseVolumes
    weights: FoldWeights
    gate: Gate | None = None
    control: Gate | None = None
    settings: RowSettings = field(default_factory=RowSettings)
    findings: Findings = field(default_factory=Findings)

    def stack(self, gate: Gate | None) -> ExpertStack:
        """The experts that a gate reads, on its intensity map."""
        volumes = self.volumes
        order = gate.experts if gate else tuple(volumes.experts)
        absent = [expert.value for expert in order if expert not in volumes.experts]
        if gate and absent:
            msg = f"{gate.path} needs the experts {', '.join(absent)}; add them to the manifest."
            raise ValueError(msg)
        low_on_high = volumes.experts.get(Expert.BSPLINE, next(iter(volumes.experts.values())))
        convention = gate.protocol["intensity"] if gate else None
        return ExpertStack(
            {expert: volumes.experts[expert] for expert in order},
            low_on_high,
            volumes.grid,
            volumes.case.axis,
            intensity_of(volumes.low, convention),
        )

    def fusion_settings(self, gate: Gate | None, *, consistency: bool = False) -> FusionSettings:
        """Settings of a fusion."""
        return FusionSettings(
            exact=self.settings.exact,
            consistency=consistency,
            window=gate.window if gate else 64,
            memory_gb=self.settings.memory_gb,
            device=self.settings.device,
        )

    @cached_property
    def agreed(self) -> NDArray[np.bool_]:
        """Voxels where all experts give one value, which every fusion leaves alone."""
        return self.stack(None).agreement()

    @cached_property
    def scan(self) -> ScanData | None:
        """The slices with the profile that the manifest's row believes in."""
        profile = self.volumes.case.profile
        believed = SliceProfile.gauss(1.0).with_std(profile.std_mm)
        return self.scan_with(believed, profile.confidence)

    def scan_with(self, profile: SliceProfile, confidence: float) -> ScanData | None:
        """The slices with a profile; None if they do not fit the experts' grid, which is noted."""
        volumes = self.volumes
        separation_mm = volumes.case.separation_mm
        scan, notes = scan_over_stack(self.stack(None), volumes.low, separation_mm, profile, confidence)
        self.findings.notes.update(notes)
        return scan


def fusion_rows(contest: Contest) -> Rows:
    """Volumes on the experts' grid, one at a time.

    Args:
        contest: The case.

    Yields:
        Row and volume.
    """
    experts, weights = contest.volumes.experts, contest.weights
    cautious = mix(experts, weights.cautious)
    yield FusionRow.CAUTIOUS, cautious
    yield FusionRow.BEST_CONSISTENT, consistent(experts[weights.best], contest)
    yield FusionRow.CAUTIOUS_CONSISTENT, consistent(cautious, contest)
    if contest.control:
        yield FusionRow.CONTROL, run_gate(contest, contest.control).volume
    if contest.gate:
        yield from _gate_rows(contest, contest.gate)
    yield FusionRow.SUPERRESOLVE, superresolved(contest)


def consistent(volume: NDArray[np.float32], contest: Contest) -> NDArray[np.float32]:
    """A volume pulled onto the slices as far as the manifest's row trusts its profile.

    Args:
        volume: On the experts' grid, in the units of the scan.
        contest: Its case.
    """
    scan = contest.scan
    mu = consistency_strength(scan.confidence) if scan else None
    if scan is None or mu is None:
        return volume
    axis = contest.volumes.case.axis
    # Rows of the operator sum to 1, so the step is the same in the units of the scan.
    lines = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume, axis, -1)))
    pulled = data_consistency(lines, scan.low, scan.operator, mu).movedim(-1, axis).numpy()
    return np.where(contest.agreed, volume, pulled)


def run_gate(contest: Contest, gate: Gate) -> Fused:
    """A gate alone: no consistency, and no safety check.

    Args:
        contest: The case.
        gate: The gate.
    """
    return fuse(
        contest.stack(gate),
        gate.network,
        widths=ProfileWidths(*contest.volumes.case.planes()),
        settings=contest.fusion_settings(gate),
    )


def _gate_rows(contest: Contest, gate: Gate) -> Rows:
    fused = run_gate(contest, gate)
    contest.findings.gate = fused
    experts = contest.volumes.experts
    convex = np.zeros_like(fused.volume)
    for expert, weight in zip(gate.experts, fused.weights, strict=True):
        convex += weight * experts[expert]
    yield FusionRow.STRICT, convex
    if gate.network.residual:
        yield FusionRow.RESIDUAL, fused.volume
    yield FusionRow.CONSISTENT, consistent(fused.volume, contest)


def superresolved(contest: Contest) -> NDArray[np.float32]:
    """What `superresolve` would return for this scan, with the fold's weights in place of the shipped ones.

    Args:
        contest: The case.
    """
    volumes = contest.volumes
    estimate = estimate_profile(volumes.low, slice_axis(volumes.low.grid))
    assumed = told_profile(volumes)
    stated = None if _was_estimated(volumes, assumed, estimate) else assumed
    excess = excess_sharpness_of(volumes.paths)
    if not excess:
        contest.findings.notes.add("the experts' sidecars lack their excess sharpness: only the scan voted")
    trust = judge_sharpness(judge_profile(stated, estimate), excess, estimate, assumed)
    choice = _choice(contest, trust)
    stack = contest.stack(choice.gate)
    settings = contest.fusion_settings(choice.gate, consistency=True)
    fused = fuse(
        stack,
        choice.for_stack(stack),
        widths=profile_widths(estimate, assumed, volumes.case.separation_mm, trust),
        scan=contest.scan_with(trust.profile, trust.confidence),
        settings=replace(settings, fallback=choice.weights_for(stack)),
    )
    contest.findings.decision = _described(choice, trust, estimate, fused)
    return fused.volume


def told_profile(volumes: CaseVolumes) -> SliceProfile:
    """The profile that the experts of a row were told.

    Args:
        volumes: The case.
    """
    record = volumes.case.profile
    if record.label != "auto":
        return SliceProfile.parse(record.label)
    return SliceProfile.gauss(1.0).with_std(record.assumed_std_mm or record.std_mm)


def _was_estimated(volumes: CaseVolumes, assumed: SliceProfile, estimate: ProfileEstimate) -> bool:
    """Whether the experts were told what the estimator says, and not what somebody knew (confidence 1)."""
    same = abs(assumed.std_mm / estimate.profile.std_mm - 1) < _SAME_WIDTH
    return same and volumes.case.profile.confidence < 1


def _choice(contest: Contest, trust: ProfileTrust) -> FusionChoice:
    weights = contest.weights.simplex
    choice = FusionChoice(FusionKind.SIMPLEX, None, weights)
    if contest.gate:
        # A gate may read fewer experts than the manifest lists; its fall-back then knows only those.
        known = {expert: weights[expert] for expert in contest.gate.experts}
        total = sum(known.values())
        shares = {expert: weight / total if total else 1 / len(known) for expert, weight in known.items()}
        choice = FusionChoice(FusionKind.GATE, contest.gate, shares)
    return choice.when_misled(contest.weights.cautious) if trust.misled else choice


def _described(choice: FusionChoice, trust: ProfileTrust, estimate: ProfileEstimate, fused: Fused) -> str:
    told = ", told that the experts are misled" if trust.misled else ""
    kind = f"gate{told}" if choice.gate else "cautious weights" if trust.misled else "simplex"
    if fused.report["fallback"]:
        kind = "simplex, because the gate's result " + str(fused.report["fallback"])
    mu = fused.report["consistency_mu"]
    strength = "no consistency" if mu is None else f"consistency mu {mu:.3g}"
    width = f"estimated std {estimate.std_mm:.2f} mm (confidence {estimate.confidence:.2f})"
    return "; ".join((kind, strength, width, *trust.warnings))


def usage_of(contest: Contest, mask: NDArray[np.bool_]) -> tuple[Mapping[str, tuple[float, float]], float]:
    """How the gate used the experts where they differ.

    Args:
        contest: The case, after its gate was run.
        mask: `(i, j, k)` on the truth's grid, where to look.

    Returns:
        Mean weight and share of voxels ruled, by expert; mean entropy in nats. Empty and 0 without a gate.
    """
    fused, gate = contest.findings.gate, contest.gate
    if fused is None or gate is None:
        return {}, 0.0
    experts = list(contest.volumes.cut_experts().values())
    decided = mask & (np.maximum.reduce(experts) > np.minimum.reduce(experts))
    weights = contest.volumes.cut(fused.weights)[:, decided]
    if not weights.size:
        return {}, 0.0
    ruled = np.bincount(weights.argmax(axis=0), minlength=len(weights)) / weights.shape[1]
    entropy = -(weights * np.log(np.maximum(weights, 1e-12))).sum(axis=0)
    shares = zip(gate.experts, weights.mean(axis=1), ruled, strict=True)
    return {name.value: (float(mean), float(share)) for name, mean, share in shares}, float(entropy.mean())
