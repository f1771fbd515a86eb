"""Fuse a stack of experts: gate, mixture, safety, data consistency, and back to the units of the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from revoxel.core.compute import keep_memory, resolve_device
from revoxel.core.windows import FastWindowInferer
from revoxel.sagnef.consistency import consistency_strength, data_consistency
from revoxel.sagnef.mixtures import mix_experts, spread_of_experts
from revoxel.sagnef.safety import implausible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from revoxel.experts.slices import SliceOperator
    from revoxel.sagnef.network import SAGNEF
    from revoxel.sagnef.stack import ExpertStack, ProfileWidths

#: On the intensity map, where tissue spans about 1: a window with less spread has nothing to decide.
AGREEMENT = 1e-6


@dataclass(frozen=True, eq=False)
class ScanData:
    """What data consistency needs.

    Args:
        low: `(x, y, n_low)` in the units of the scan, in-plane on the fine grid, slice axis last.
        operator: The slice operator from the fine grid to `low`.
        confidence: How far its profile is trusted, 0 to 1.
    """

    low: Tensor
    operator: SliceOperator
    confidence: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """How to fuse.

    Args:
        exact: Reference path (float32, overlap 0.5, every window) instead of the fast one.
        consistency: Pull the result onto the measured slices.
        fallback: Global weights, in the stack's order, that replace a gate whose result is implausible;
            the mean if not given.
        window: Side of the patches that the gate was trained at, in voxels; no window is smaller.
        memory_gb: Bound for the activations of the gate.
        device: `auto`, `cpu` or `cuda:N`.
        progress: Called with the number of windows done and in all.
    """

    exact: bool = False
    consistency: bool = True
    fallback: Sequence[float] | None = None
    window: int = 64
    memory_gb: float = 0.5
    device: str = "cpu"
    progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True, eq=False)
class Fused:
    """A fused volume.

    Args:
        volume: `(i, j, k)` in the units of the scan.
        weights: `(expert, i, j, k)`, summing to 1, in the stack's order.
        report: What was done, ready for JSON.
    """

    volume: NDArray[np.float32]
    weights: NDArray[np.float32]
    report: dict[str, Any]


@torch.no_grad()
def fuse(
    stack: ExpertStack,
    gate: SAGNEF | Sequence[float],
    *,
    widths: ProfileWidths | None = None,
    scan: ScanData | None = None,
    settings: FusionSettings | None = None,
) -> Fused:
    """Fuse the experts of one scan.

    With a gate on a processor, this process keeps the memory that it frees from here on (`keep_memory`).

    Args:
        stack: The experts.
        gate: A network, or one global weight per expert in the stack's order (non-negative, sum 1).
        widths: Profile numbers, for a gate that reads them.
        scan: The measured slices; without them there is no consistency and no safety check.
        settings: How to fuse.

    Returns:
        Volume and weights on the stack's grid.

    Raises:
        ValueError: If the weights are no point of the simplex or the gate reads a profile that is not given.
        RuntimeError: If the result is not finite.
    """
    settings = settings or FusionSettings()
    experts = stack.expert_tensor()
    report: dict[str, Any] = {"experts": list(stack.order), "fallback": None}
    if isinstance(gate, Sequence):
        fused, weights = mix_globally(experts, gate)
    else:
        fused, weights = _run_gate(gate, stack, experts, widths, settings)
        fused, weights = _fall_back_if_implausible((fused, weights), experts, stack, scan, settings, report)
    fused = _pull_onto_slices(fused, stack, scan, settings, report)
    if not bool(torch.isfinite(fused).all()):
        msg = "the fused volume must be finite, got NaN or Inf; check the experts and the gate's weights."
        raise RuntimeError(msg)
    weights_on_grid = stack.to_grid(weights[0])
    agreed = stack.agreement()
    report["mean_weight"] = dict(zip(stack.order, _mean_weights(weights_on_grid, ~agreed), strict=True))
    volume = stack.intensity.invert(stack.to_grid(fused[0, 0])).astype(np.float32, copy=False)
    # Nothing to decide there; and a constant background would not survive the intensity map to the last bit.
    volume[agreed] = next(iter(stack.experts.values()))[agreed]
    return Fused(volume, weights_on_grid, report)


def mix_globally(experts: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Blend with one weight per expert for the whole volume.

    Args:
        experts: `(1, expert, x, y, z)`.
        weights: One number per expert, non-negative, sum 1.

    Returns:
        The blend `(1, 1, x, y, z)` and the weights expanded to the shape of the experts.

    Raises:
        ValueError: If the weights are no point of the simplex.
    """
    vector = torch.tensor([float(weight) for weight in weights], dtype=experts.dtype)
    if len(vector) != experts.shape[1] or bool((vector < 0).any()) or abs(float(vector.sum()) - 1) > 1e-3:
        msg = (
            f"weights must be {experts.shape[1]} non-negative numbers that sum to 1, got {list(weights)}; "
            "give one per expert, in the stack's order."
        )
        raise ValueError(msg)
    expanded = vector.view(1, -1, 1, 1, 1).expand_as(experts)
    return mix_experts(experts, expanded), expanded


def _run_gate(
    gate: SAGNEF, stack: ExpertStack, experts: Tensor, widths: ProfileWidths | None, settings: FusionSettings
) -> tuple[Tensor, Tensor]:
    """Fused volume and weights of the gate, window by window; plain mixture where the experts agree."""
    if gate.n_profile and widths is None:
        msg = "widths must be given to a gate with profile planes, got None; pass ProfileWidths."
        raise ValueError(msg)
    with_low = gate.in_ch > gate.n_profile + gate.n_experts
    channels = stack.network_input(widths if gate.n_profile else None, with_low=with_low)
    if channels.shape[1] != gate.in_ch:
        msg = (
            f"the gate must read {channels.shape[1]} channels (profile, scan, {', '.join(stack.order)}), "
            f"got one for {gate.in_ch}; give the experts that it was trained with."
        )
        raise ValueError(msg)
    device = resolve_device(settings.device)
    gate = gate.eval().to(device)
    if settings.exact:
        # MONAI's import takes seconds, which only the reference path needs to spend.
        from revoxel.core.hann_inferer import HannSlidingWindowInferer

        fused, weights = HannSlidingWindowInferer(settings.window, overlap=0.5)(channels.to(device), gate)
        return fused.cpu(), weights.cpu()
    if device.type == "cpu":
        keep_memory()
    inferer = FastWindowInferer(settings.window, memory_gb=settings.memory_gb, progress=settings.progress)
    uniform = torch.full((1, experts.shape[1], 1, 1, 1), 1.0 / experts.shape[1], device=device)
    active = (spread_of_experts(experts) > AGREEMENT)[0, 0]
    plain = (experts.mean(dim=1, keepdim=True).to(device), uniform)
    fused, weights = inferer(channels.to(device), gate, active=active.to(device), fallback=plain)
    return fused.cpu(), weights.cpu()


def _fall_back_if_implausible(
    result: tuple[Tensor, Tensor],
    experts: Tensor,
    stack: ExpertStack,
    scan: ScanData | None,
    settings: FusionSettings,
    report: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    if scan is None:
        return result
    report["fallback"] = implausible(result[0][0, 0], experts[0], _mapped_low(stack, scan), scan.operator)
    if report["fallback"] is None:
        return result
    n_experts = experts.shape[1]
    return mix_globally(experts, settings.fallback or [1.0 / n_experts] * n_experts)


def _pull_onto_slices(
    fused: Tensor, stack: ExpertStack, scan: ScanData | None, settings: FusionSettings, report: dict[str, Any]
) -> Tensor:
    mu = consistency_strength(scan.confidence) if scan is not None and settings.consistency else None
    report["consistency_mu"] = mu
    if scan is None or mu is None:
        return fused
    return data_consistency(fused[0, 0], _mapped_low(stack, scan), scan.operator, mu)[None, None]


def _mapped_low(stack: ExpertStack, scan: ScanData) -> Tensor:
    return torch.from_numpy(stack.intensity.apply(scan.low.numpy()).astype(np.float32, copy=False))


def _mean_weights(weights: NDArray[np.float32], decided: NDArray[np.bool_]) -> list[float]:
    """Mean weight of each expert where there was something to decide."""
    where = decided if decided.any() else np.ones_like(decided)
    return [round(float(plane[where].mean()), 4) for plane in weights]
