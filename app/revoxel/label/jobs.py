"""One inference: the same calls as `revoxel superresolve` and `revoxel predict`, with the server's cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.checkpoints import best_checkpoint
from revoxel.core.pulses import Pulse, Spacing
from revoxel.label.cache import ExpertCache, logged
from revoxel.label.models import AUTOMATIC, Model, check_fit
from revoxel.label.refusals import unusable
from revoxel.label.training import runs_of
from revoxel.sagnef.gates import load_gate
from revoxel.sagnef.pipeline import carry_out
from revoxel.sagnef.planning import Plan, SuperresolveSettings, plan_superresolve
from revoxel.sagnef.predict import PredictRequest, predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.experts.names import Expert
    from revoxel.label.wishes import InferWishes
    from revoxel.sagnef.outputs import Result

logger = logging.getLogger(__name__)
# Places on the server are nobody's business.
_PRIVATE = ("inputs", "outputs", "device")


@dataclass(frozen=True)
class Job:
    """What to super-resolve.

    Attributes:
        scan: The file; of the datastore, of a session, or uploaded with the request.
        model: Name of a model, or `sagnef`.
        wishes: What the client asked for.
        out: Folder for the results.
    """

    scan: Path
    model: str
    wishes: InferWishes
    out: Path


def superresolve_scan(job: Job, cache: ExpertCache, models: Mapping[str, Model]) -> Result:
    """Super-resolve one scan.

    Args:
        job: What to do.
        cache: Where experts are found and kept.
        models: Bundles with weights.

    Returns:
        As `revoxel superresolve` gives; as `revoxel predict` where experts lie beside the scan.

    Raises:
        RefusedError: If the named model does not fit the scan, or none was trained here.
        ValueError: If the scan is no usable thick-slice volume.
    """
    plan, settings = _plan(job, models)
    beside = cache.beside(job.scan)
    progress = logged(f"{job.model} on {job.scan.name}")
    if beside:
        return predict(_request(job, plan, beside, cache), progress)
    if job.wishes.trained:
        plan = replace(plan, fusion=replace(plan.fusion, gate=load_gate(_trained(plan, cache))))
    return carry_out(plan, settings, progress=progress, run=cache.runner(job.scan))


def shown_record(result: Result) -> dict[str, Any]:
    """What a client learns about a result: the JSON record without places on the server.

    Args:
        result: Of an inference.
    """
    shown = {name: value for name, value in result.record.items() if name not in _PRIVATE}
    warnings = [str(text).replace(f"{result.paths.folder}/", "") for text in shown.get("warnings", ())]
    return shown | {"warnings": warnings}


def _plan(job: Job, models: Mapping[str, Model]) -> tuple[Plan, SuperresolveSettings]:
    named = models.get(job.model)
    pulse = named.pulse.value if named and job.wishes.pulse == "auto" else str(job.wishes.pulse)
    settings = SuperresolveSettings(pulse=pulse, device=job.wishes.device, keep_experts=False)
    plan = plan_superresolve(job.scan, job.out, settings)
    spacing = Spacing.from_separation(plan.separation_mm)
    if job.model != AUTOMATIC:
        check_fit(job.model, plan.pulse, spacing)
    return plan, settings


def _request(job: Job, plan: Plan, experts: Mapping[Expert, Path], cache: ExpertCache) -> PredictRequest:
    return PredictRequest(
        experts=experts,
        low=job.scan,
        out=plan.paths.fused,
        pulse=plan.pulse,
        spacing=Spacing.from_separation(plan.separation_mm),
        checkpoint=_trained(plan, cache) if job.wishes.trained else None,
        device=job.wishes.device,
    )


def _trained(plan: Plan, cache: ExpertCache) -> Path:
    """Best checkpoint of the newest training on this server."""
    spacing, pulse = Spacing.from_separation(plan.separation_mm), Pulse(plan.pulse)
    for run in runs_of(cache.work, spacing, pulse):
        try:
            return best_checkpoint(run.checkpoints)
        except FileNotFoundError:
            continue
    msg = f"trained must name a gate that was trained here for {spacing} {pulse}, got none; train it first."
    raise unusable(msg)
