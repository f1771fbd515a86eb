"""The main job: a thick-slice scan goes in, a fused isotropic volume comes out.

Slice profile -> experts -> gate -> data consistency -> volume, weights, maps, picture, record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.provenance import sha256_of
from revoxel.experts.estimate_profile import ProfileEstimate, estimate_profile
from revoxel.experts.names import Expert
from revoxel.experts.run import ExpertRequest, ExpertRun, run_experts
from revoxel.sagnef.fusion import Fused, FusionSettings, ScanData, fuse
from revoxel.sagnef.outputs import fusion_record, prepare_folder, save_fusion
from revoxel.sagnef.planning import Plan, SuperresolveSettings, plan_superresolve
from revoxel.sagnef.stack import ExpertStack, ProfileWidths, intensity_of

if TYPE_CHECKING:
    from revoxel.experts.profiles import SliceProfile
    from revoxel.sagnef.naming import OutputPaths

Progress = Callable[[str, float], None]
Runner = Callable[[ExpertRequest, Progress | None], ExpertRun]

#: A stated profile this far from a trusted estimate is reported, and trusted less.
WIDTH_TOLERANCE = 0.2


@dataclass(frozen=True, eq=False)
class Result:
    """What the main job gives.

    Args:
        fused: Volume and weights.
        stack: The experts they were made from.
        paths: Files written.
        record: Content of the JSON.
    """

    fused: Fused
    stack: ExpertStack
    paths: OutputPaths
    record: dict[str, Any]


def superresolve(
    path: Path | str,
    out_dir: Path | str = ".",
    settings: SuperresolveSettings | None = None,
    *,
    progress: Progress | None = None,
    run: Runner = run_experts,
) -> Result:
    """Super-resolve one thick-slice scan and write everything.

    Args:
        path: NIfTI, NRRD or MHA file, or a DICOM series folder.
        out_dir: Where results go; made if absent.
        settings: Choices.
        progress: Called with the name of a stage and its share done.
        run: What makes the experts' volumes.

    Returns:
        Volume, weights, experts, paths and record.

    Raises:
        ValueError: If the scan is no usable thick-slice volume, or no model fits.
        FileExistsError: If results exist and `overwrite` is off.
        OSError: If a result cannot be written.
    """
    settings = settings or SuperresolveSettings()
    return carry_out(
        plan_superresolve(Path(path), Path(out_dir), settings), settings, progress=progress, run=run
    )


def carry_out(
    plan: Plan, settings: SuperresolveSettings, *, progress: Progress | None = None, run: Runner = run_experts
) -> Result:
    """Do what was planned.

    Args:
        plan: From `plan_superresolve`.
        settings: The same settings.
        progress: Called with the name of a stage and its share done.
        run: What makes the experts' volumes.

    Returns:
        Volume, weights, experts, paths and record.

    Raises:
        OSError: If a result cannot be written.
    """
    start = time.perf_counter()
    prepare_folder(plan.paths, overwrite=settings.overwrite)
    estimate = estimate_profile(plan.scan, plan.axis)
    experts = run(_expert_request(plan, settings, estimate), progress)
    doubt = judge_profile(settings.profile, estimate)
    stack = _stack(plan, experts)
    fused = fuse(
        stack,
        plan.fusion.gate.network if plan.fusion.gate else _in_order(plan, stack),
        widths=_widths(plan, experts, estimate, doubt),
        scan=ScanData(experts.prepared.low, experts.prepared.problem.operator, doubt.confidence),
        settings=_fusion_settings(plan, settings, stack, progress),
    )
    record = {
        **_record(plan, settings),
        **_experts_record(experts),
        "profile": _profile_record(settings, experts, estimate, doubt),
        **fusion_record(fused, stack),
    }
    record["warnings"] = [*plan.warnings, *doubt.warnings, *record["warnings"]]
    record["seconds"]["all"] = round(time.perf_counter() - start, 1)
    save_fusion(fused, stack, plan.scan, plan.paths, record, overwrite=settings.overwrite)
    return Result(fused, stack, plan.paths, record)


@dataclass(frozen=True)
class ProfileDoubt:
    """How far the slice profile in use is trusted.

    Args:
        confidence: From 0 to 1; 1 = known.
        warnings: What speaks against it.
    """

    confidence: float
    warnings: tuple[str, ...] = ()


def judge_profile(stated: SliceProfile | None, estimate: ProfileEstimate) -> ProfileDoubt:
    """Compare the user's profile, if any, with what the scan itself suggests.

    Args:
        stated: The user's profile.
        estimate: From the scan.

    Returns:
        The trust to put in the profile in use.
    """
    if stated is None and estimate.trusted:
        return ProfileDoubt(estimate.confidence)
    if stated is None:
        doubt = (
            "the slice profile could not be estimated and was assumed; state it with --profile if you know it"
        )
        return ProfileDoubt(0.0, (doubt,))
    disagreement = abs(stated.std_mm / estimate.std_mm - 1.0)
    if not estimate.trusted or disagreement < WIDTH_TOLERANCE:
        return ProfileDoubt(1.0)
    doubt = (
        f"the stated profile {stated.label} (std {stated.std_mm:.2f} mm) disagrees with the scan, which "
        f"suggests {estimate.std_mm:.2f} mm: leave out --profile unless you know better"
    )
    return ProfileDoubt(max(0.0, 1.0 - disagreement), (doubt,))


def _expert_request(plan: Plan, settings: SuperresolveSettings, estimate: ProfileEstimate) -> ExpertRequest:
    return ExpertRequest(
        plan.scan,
        profile=settings.profile or estimate.profile,
        voxel_mm=settings.voxel_mm,
        out_dir=plan.paths.folder if settings.keep_experts else None,
        stem=plan.paths.stem,
        cold=settings.cold,
        external=settings.external,
        companions=plan.companions,
        device=settings.device,
        seed=settings.seed,
        overwrite=settings.overwrite,
    )


def _stack(plan: Plan, experts: ExpertRun) -> ExpertStack:
    gate = plan.fusion.gate
    intensity = intensity_of(plan.scan, gate.protocol["intensity"]["percentiles"] if gate else None)
    low_on_high = experts.volumes[Expert.BSPLINE]
    return ExpertStack(experts.volumes, low_on_high, experts.high_grid, plan.axis, intensity)


def _widths(plan: Plan, experts: ExpertRun, estimate: ProfileEstimate, doubt: ProfileDoubt) -> ProfileWidths:
    estimated_mm = estimate.std_mm if estimate.trusted else experts.profile.std_mm
    return ProfileWidths(
        estimated_mm / plan.separation_mm, experts.profile.std_mm / plan.separation_mm, doubt.confidence
    )


def _in_order(plan: Plan, stack: ExpertStack) -> list[float]:
    return [plan.fusion.weights[expert] for expert in stack.order]


def _fusion_settings(
    plan: Plan, settings: SuperresolveSettings, stack: ExpertStack, progress: Progress | None
) -> FusionSettings:
    return FusionSettings(
        exact=settings.exact,
        consistency=settings.consistency,
        fallback=_in_order(plan, stack),
        window=plan.fusion.gate.window if plan.fusion.gate else 64,
        memory_gb=settings.memory_gb,
        device=settings.device,
        progress=progress and (lambda done, total: progress("gate", done / total)),
    )


def _record(plan: Plan, settings: SuperresolveSettings) -> dict[str, Any]:
    gate = plan.fusion.gate
    inputs = {"lr": plan.scan, **plan.companions}
    return {
        "inputs": {name: _file_record(volume.path) for name, volume in inputs.items() if volume.path},
        "pulse": plan.pulse,
        "slice_axis": plan.axis,
        "separation_mm": round(plan.separation_mm, 4),
        "in_plane_mm": [round(side, 4) for i, side in enumerate(plan.scan.grid.spacing_mm) if i != plan.axis],
        "fusion": plan.fusion.kind,
        "gate": plan.fusion.name,
        "gate_sha256": sha256_of(gate.path) if gate else None,
        "exact": settings.exact,
        "seed": settings.seed,
        "device": settings.device,
    }


def _experts_record(experts: ExpertRun) -> dict[str, Any]:
    return {
        "in_plane_resampled": experts.prepared.resampled_in_plane,
        "implementations": dict(experts.implementations),
        "seconds": {name: round(seconds, 1) for name, seconds in experts.seconds.items()},
    }


def _profile_record(
    settings: SuperresolveSettings, experts: ExpertRun, estimate: ProfileEstimate, doubt: ProfileDoubt
) -> dict[str, Any]:
    return {
        "label": experts.profile.label,
        "source": "stated" if settings.profile else "estimated" if estimate.trusted else "assumed",
        "std_mm": round(experts.profile.std_mm, 4),
        "fwhm_mm": round(experts.profile.fwhm_mm, 4),
        "estimated_std_mm": round(estimate.std_mm, 4),
        "interval_mm": [round(bound, 4) for bound in estimate.interval_mm],
        "confidence": round(doubt.confidence, 4),
    }


def _file_record(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": sha256_of(path)}
