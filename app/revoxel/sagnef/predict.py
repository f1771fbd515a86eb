"""Fuse expert volumes that already exist: the source's `predict`, on files from anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from revoxel.core.compute import resolve_device
from revoxel.core.geometry import SAME_GRID_TOLERANCE_VOXELS, Grid, resample, slice_axis, thick_grid
from revoxel.core.provenance import read_sidecar, sha256_of
from revoxel.core.volumes import Volume, read_volume, volume_sidecar, volume_stem
from revoxel.experts.estimate_profile import ProfileEstimate, estimate_profile
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import SliceOperator
from revoxel.sagnef.fusion import FusionSettings, ScanData, fuse
from revoxel.sagnef.gates import load_gate
from revoxel.sagnef.naming import OutputPaths
from revoxel.sagnef.outputs import Result, fusion_record, output_names, prepare_folder, save_fusion
from revoxel.sagnef.planning import FusionChoice, FusionKind, check_spacing, choose_fusion
from revoxel.sagnef.profile_trust import (
    judge_profile,
    judge_sharpness,
    profile_record,
    profile_widths,
)
from revoxel.sagnef.stack import MAX_TOLERANCE_VOXELS, ExpertStack, stack_volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from revoxel.core.pulses import Pulse, Spacing


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """Which volumes to fuse, and with what.

    Args:
        experts: Files by expert.
        low: The thick-slice scan they were made from.
        out: The fused volume; its companions lie beside it.
        pulse: Pulse of the scan.
        spacing: Spacing of the model.
        checkpoint: Trained gate; the shipped bundle's by default.
        reference: Volume whose grid the result gets; the first expert's by default.
        allow_extrapolation: Accept a slice separation outside the model's range.
        max_tolerance_voxels: Offset between volumes that is repaired on a copy.
        exact: Reference path of the gate.
        consistency: Pull the result onto the measured slices.
        memory_gb: Bound for the gate's activations.
        device: `auto`, `cpu` or `cuda:N`.
        overwrite: Replace results that exist.
    """

    experts: Mapping[Expert, Path]
    low: Path
    out: Path
    pulse: Pulse
    spacing: Spacing
    checkpoint: Path | None = None
    reference: Path | None = None
    allow_extrapolation: bool = False
    max_tolerance_voxels: float = MAX_TOLERANCE_VOXELS
    exact: bool = False
    consistency: bool = True
    memory_gb: float = 0.5
    device: str = "auto"
    overwrite: bool = False


@dataclass(frozen=True)
class SourceConfiguration:
    """What `predict` takes from a model configuration.

    Args:
        experts: Order of the experts.
        max_tolerance_voxels: Offset between volumes that is repaired.
    """

    experts: tuple[Expert, ...] = tuple(Expert)
    max_tolerance_voxels: float = MAX_TOLERANCE_VOXELS

    @classmethod
    def read(cls, path: Path) -> SourceConfiguration:
        """Read the section `data` of a YAML file; the other sections concern training.

        Args:
            path: Model configuration.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it is no YAML mapping, or names an unknown expert.
        """
        if not path.is_file():
            msg = f"model configuration {path} must be an existing YAML file; check --cfg."
            raise FileNotFoundError(msg)
        try:
            data = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("data", {})
            experts = tuple(Expert(name) for name in data.get("experts", Expert))
            tolerance = float(data.get("max_tolerance_voxels", MAX_TOLERANCE_VOXELS))
        except (yaml.YAMLError, AttributeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            msg = f"{path} must hold data.experts and data.max_tolerance_voxels, got {reason}; correct it."
            raise ValueError(msg) from error
        return cls(experts, tolerance)


def parse_experts(text: str, order: Sequence[Expert] = tuple(Expert)) -> dict[Expert, Path]:
    """Read a comma-separated list of expert files.

    A file is told by `NAME=FILE`, by the one expert that its name or folder names, or else by its place.

    Args:
        text: Files.
        order: Experts by place.

    Returns:
        File by expert.

    Raises:
        ValueError: If experts are missing, doubled, or more than known.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    named = [_named_expert(item) for item in items]
    by_place = not all(named)
    keys = order[: len(items)] if by_place else [expert for expert in named if expert]
    missing = [expert for expert in order if expert not in keys]
    if missing or len(items) != len(order):
        msg = f"--experts must give {', '.join(order)}, got {len(items)} files"
        msg += f" without {', '.join(missing)}" if missing else " with doubles"
        raise ValueError(msg + "; write NAME=FILE,NAME=FILE,... or give the files in that order.")
    swapped = [
        item for item, expert, place in zip(items, named, keys, strict=True) if expert not in (None, place)
    ]
    if swapped:
        msg = (
            f"--experts must be in the order {', '.join(order)}, got {swapped[0]} elsewhere; write NAME=FILE."
        )
        raise ValueError(msg)
    return {expert: Path(item.rpartition("=")[2]) for expert, item in zip(keys, items, strict=True)}


def predict(request: PredictRequest, progress: Callable[[str, float], None] | None = None) -> Result:
    """Fuse existing expert volumes and write everything.

    Args:
        request: What to fuse.
        progress: Called with the name of a stage and its share done.

    Returns:
        Volume, weights, experts, paths and record.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If volumes do not belong together, or the checkpoint is for something else.
        FileExistsError: If results exist and `overwrite` is off.
        OSError: If a result cannot be written.
    """
    resolve_device(request.device)
    paths = OutputPaths(request.out.parent, volume_stem(request.out), request.out.name)
    paths.refuse_existing(overwrite=request.overwrite)
    low = read_volume(request.low)
    low_axis = slice_axis(low.grid)
    separation_mm = low.grid.spacing_mm[low_axis]
    check_spacing(request.spacing, separation_mm, allow_extrapolation=request.allow_extrapolation)
    choice = _choose(request)
    stack = _read_stack(request, choice, low, low_axis)
    prepare_folder(paths, overwrite=request.overwrite)
    estimate = estimate_profile(low, low_axis)
    stated = _stated_profile(request, estimate)
    assumed = stated or estimate.profile
    trust = judge_sharpness(
        judge_profile(stated, estimate), excess_sharpness_of(request.experts), estimate, assumed
    )
    if trust.misled:
        choice = choice.when_misled()
    scan, notes = scan_over_stack(stack, low, separation_mm, trust.profile, trust.confidence)
    fused = fuse(
        stack,
        choice.for_stack(stack),
        widths=profile_widths(estimate, assumed, separation_mm, trust),
        scan=scan,
        settings=_fusion_settings(request, choice, stack, progress),
    )
    record = {
        **_record(request, choice, separation_mm, stack.axis),
        "profile": profile_record(assumed, estimate, trust, stated=stated is not None),
        **fusion_record(fused, stack),
        "outputs": output_names(paths),
    }
    record["warnings"] = [*low.notes, *choice.warnings, *trust.warnings, *notes, *record["warnings"]]
    save_fusion(fused, stack, low, paths, record, overwrite=request.overwrite)
    return Result(fused, stack, paths, record)


def _named_expert(item: str) -> Expert | None:
    """The one expert that an item names, by `NAME=`, by its file name, or by its folder."""
    name, is_pair, file = item.partition("=")
    if is_pair:
        if name.upper() not in set(Expert):
            msg = f"--experts must name {', '.join(Expert)}, got {name!r}; write SMORE=FILE, for example."
            raise ValueError(msg)
        return Expert(name.upper())
    for text in (Path(file or item).name, Path(file or item).parent.name):
        found = [expert for expert in Expert if expert in text.upper()]
        if len(found) == 1:
            return found[0]
    return None


def _choose(request: PredictRequest) -> FusionChoice:
    choice = choose_fusion(FusionKind.GATE, request.pulse, request.spacing)
    if request.checkpoint is None:
        return choice
    gate = load_gate(request.checkpoint, pulse=request.pulse, spacing=request.spacing)
    return FusionChoice(FusionKind.GATE, gate, choice.weights)


def _read_stack(request: PredictRequest, choice: FusionChoice, low: Volume, low_axis: int) -> ExpertStack:
    volumes = {expert: read_volume(path) for expert, path in request.experts.items()}
    grid = read_volume(request.reference).grid if request.reference else next(iter(volumes.values())).grid
    return stack_volumes(
        volumes,
        low,
        _same_direction(grid, low.grid, low_axis),
        reference=grid,
        convention=choice.convention,
        max_tolerance_voxels=request.max_tolerance_voxels,
    )


def _same_direction(grid: Grid, low: Grid, low_axis: int) -> int:
    """Axis of `grid` that runs along the slice axis of `low`."""
    steps = np.linalg.solve(grid.affine[:3, :3], low.affine[:3, low_axis])
    return int(np.argmax(np.abs(steps)))


def _stated_profile(request: PredictRequest, estimate: ProfileEstimate) -> SliceProfile | None:
    """The profile that somebody told the experts, as their sidecars say; None if it came from the scan."""
    for path in request.experts.values():
        sidecar = volume_sidecar(path)
        label = read_sidecar(sidecar).get("profile") if sidecar.is_file() else None
        if isinstance(label, str):
            return None if label == estimate.profile.label else SliceProfile.parse(label)
    return None


def excess_sharpness_of(experts: Mapping[Expert, Path]) -> dict[Expert, float]:
    """Excess sharpness of expert files, as their sidecars say.

    Args:
        experts: File by expert.

    Returns:
        Value by expert, where a sidecar has one.
    """
    sidecars = {expert: volume_sidecar(path) for expert, path in experts.items()}
    records = {expert: read_sidecar(path) for expert, path in sidecars.items() if path.is_file()}
    return {e: float(r["excess_sharpness"]) for e, r in records.items() if "excess_sharpness" in r}


def scan_over_stack(
    stack: ExpertStack, low: Volume, separation_mm: float, profile: SliceProfile, confidence: float
) -> tuple[ScanData | None, tuple[str, ...]]:
    """Bring the slices over the experts' grid, for data consistency.

    Args:
        stack: The experts.
        low: The scan.
        separation_mm: Distance between its slice centres.
        profile: The slice profile that is believed.
        confidence: In that profile, 0 to 1.

    Returns:
        The slices, or None and a note if slices and grid do not share their first edge.
    """
    thick = thick_grid(stack.grid, stack.axis, separation_mm)
    to_thick = np.linalg.solve(thick.affine, low.grid.affine)
    corners = low.grid.corners()
    places = (corners @ to_thick[:3, :3].T + to_thick[:3, 3])[:, stack.axis]
    if np.abs(places - np.rint(places)).max() > SAME_GRID_TOLERANCE_VOXELS or abs(places.min()) > 0.5:
        note = "the slices do not fit the experts' grid edge to edge: no data consistency, no safety check"
        return None, (note,)
    data = np.moveaxis(resample(low.data, low.grid, thick), stack.axis, -1)
    operator = SliceOperator.build(
        thick.shape[stack.axis],
        stack.grid.shape[stack.axis],
        stack.grid.spacing_mm[stack.axis],
        separation_mm,
        profile,
    )
    return ScanData(torch.from_numpy(np.ascontiguousarray(data)), operator, confidence), ()


def _fusion_settings(
    request: PredictRequest,
    choice: FusionChoice,
    stack: ExpertStack,
    progress: Callable[[str, float], None] | None,
) -> FusionSettings:
    return FusionSettings(
        exact=request.exact,
        consistency=request.consistency,
        fallback=choice.weights_for(stack),
        window=choice.window,
        memory_gb=request.memory_gb,
        device=request.device,
        progress=progress and (lambda done, total: progress("gate", done / total)),
    )


def _record(request: PredictRequest, choice: FusionChoice, separation_mm: float, axis: int) -> dict[str, Any]:
    inputs = {"lr": request.low, **{expert.value: path for expert, path in request.experts.items()}}
    if request.reference:
        inputs["ref"] = request.reference
    return {
        "inputs": {
            str(name): {"path": str(path), "sha256": sha256_of(path)} for name, path in inputs.items()
        },
        "pulse": request.pulse,
        "slice_axis": axis,
        "separation_mm": round(separation_mm, 4),
        **choice.record(),
        "exact": request.exact,
        "device": request.device,
        "seconds": {},
    }
