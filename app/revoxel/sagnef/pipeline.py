"""The main job: a thick-slice scan goes in, a fused isotropic volume comes out.

Slice profile -> experts -> gate -> data consistency -> volume, weights, maps, picture, record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from revoxel.core.provenance import sha256_of
from revoxel.experts.estimate_profile import ProfileEstimate, estimate_profile
from revoxel.experts.names import Expert
from revoxel.experts.run import ExpertRequest, ExpertRun, run_experts
from revoxel.sagnef.fusion import FusionSettings, ScanData, fuse
from revoxel.sagnef.outputs import Result, fusion_record, output_names, prepare_folder, save_fusion
from revoxel.sagnef.planning import Plan, SuperresolveSettings, plan_superresolve
from revoxel.sagnef.profile_trust import (
    ProfileTrust,
    judge_profile,
    judge_sharpness,
    profile_record,
    profile_widths,
)
from revoxel.sagnef.stack import ExpertStack, intensity_of

Progress = Callable[[str, float], None]
Runner = Callable[[ExpertRequest, Progress | None], ExpertRun]


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
    stack = _stack(plan, experts)
    trust = judge_sharpness(
        judge_profile(settings.profile, estimate), experts.excess_sharpness, estimate, experts.profile
    )
    if trust.misled:
        plan = replace(plan, fusion=plan.fusion.when_misled())
    fused = fuse(
        stack,
        plan.fusion.for_stack(stack),
        widths=profile_widths(estimate, experts.profile, plan.separation_mm, trust),
        scan=_scan_data(experts, trust),
        settings=_fusion_settings(plan, settings, stack, progress),
    )
    record = {
        **_record(plan, settings),
        **_experts_record(experts),
        "profile": profile_record(experts.profile, estimate, trust, stated=settings.profile is not None),
        **fusion_record(fused, stack),
        "outputs": output_names(plan.paths, experts.paths),
    }
    record["warnings"] = [*plan.warnings, *trust.warnings, *record["warnings"]]
    record["seconds"]["all"] = round(time.perf_counter() - start, 1)
    save_fusion(fused, stack, plan.scan, plan.paths, record, overwrite=settings.overwrite)
    return Result(fused, stack, plan.paths, record)


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


def _scan_data(experts: ExpertRun, trust: ProfileTrust) -> ScanData:
    problem = replace(experts.prepared.problem, profile=trust.profile)
    return ScanData(experts.prepared.low, problem.operator, trust.confidence)


def _stack(plan: Plan, experts: ExpertRun) -> ExpertStack:
    intensity = intensity_of(plan.scan, plan.fusion.convention)
    low_on_high = experts.volumes[Expert.BSPLINE]
    return ExpertStack(experts.volumes, low_on_high, experts.high_grid, plan.axis, intensity)


def _fusion_settings(
    plan: Plan, settings: SuperresolveSettings, stack: ExpertStack, progress: Progress | None
) -> FusionSettings:
    return FusionSettings(
        exact=settings.exact,
        consistency=settings.consistency,
        fallback=plan.fusion.weights_for(stack),
        window=plan.fusion.window,
        memory_gb=settings.memory_gb,
        device=settings.device,
        progress=progress and (lambda done, total: progress("gate", done / total)),
    )


def _record(plan: Plan, settings: SuperresolveSettings) -> dict[str, Any]:
    inputs = {"lr": plan.scan, **{pulse.value: volume for pulse, volume in plan.companions.items()}}
    return {
        "inputs": {name: _file_record(volume.path) for name, volume in inputs.items() if volume.path},
        "pulse": plan.pulse,
        "slice_axis": plan.axis,
        "separation_mm": round(plan.separation_mm, 4),
        "in_plane_mm": [round(side, 4) for i, side in enumerate(plan.scan.grid.spacing_mm) if i != plan.axis],
        **plan.fusion.record(),
        "exact": settings.exact,
        "seed": settings.seed,
        "device": settings.device,
    }


def _experts_record(experts: ExpertRun) -> dict[str, Any]:
    return {
        "in_plane_resampled": experts.prepared.resampled_in_plane,
        "implementations": dict(experts.implementations),
        "excess_sharpness": {name: round(excess, 4) for name, excess in experts.excess_sharpness.items()},
        "seconds": {name: round(seconds, 1) for name, seconds in experts.seconds.items()},
    }


def _file_record(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": sha256_of(path)}
