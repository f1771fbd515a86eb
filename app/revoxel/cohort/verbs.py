"""What a worker does with one scan: run the verb in a folder of its own, then move the files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.cohort.keep import keep_results
from revoxel.cohort.plan import Task, Verb, VerbSettings
from revoxel.cohort.workspace import workspace
from revoxel.core.compute import set_threads
from revoxel.core.manifest import Manifest
from revoxel.core.volumes import volume_stem
from revoxel.experts.names import Expert
from revoxel.sagnef.study.checks import profile_for_experts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from revoxel.experts.profiles import SliceProfile

_KNOWN = 1.0


def carry_out(task: Task, settings: VerbSettings) -> None:
    """Do one task, whole or not at all.

    Args:
        task: Scan, and names of the results.
        settings: What to do with it.

    Raises:
        ValueError: If the scan cannot be used.
        OSError: If a file cannot be read or written; what was begun is removed.
    """
    start = time.perf_counter()
    set_threads(settings.threads)
    with workspace(settings.out, task.name) as work:
        _VERBS[settings.verb](task, settings, work)
        keep_results(task, settings.out, work, round(time.perf_counter() - start, 1))


def _superresolve(task: Task, settings: VerbSettings, work: Path) -> None:
    from revoxel.sagnef.pipeline import superresolve
    from revoxel.sagnef.planning import SuperresolveSettings

    wanted = SuperresolveSettings(
        pulse=task.row.pulse.value,
        profile=_known_profile(task),
        voxel_mm=1.0 if settings.voxel_mm == "auto" else settings.voxel_mm,
        fusion=settings.fusion,
        allow_extrapolation=settings.allow_extrapolation,
        exact=settings.exact,
        consistency=settings.consistency,
        keep_experts=settings.keep_experts,
        cold=settings.cold,
        memory_gb=settings.memory_gb,
        device=settings.device,
        seed=settings.seed,
    )
    superresolve(task.row.lr, work, wanted)


def _known_profile(task: Task) -> SliceProfile | None:
    """A profile that was recorded or stated is told to the experts; an estimate is made anew."""
    return profile_for_experts(task.row) if task.row.profile.confidence >= _KNOWN else None


def _predict(task: Task, settings: VerbSettings, work: Path) -> None:
    from revoxel.sagnef.predict import PredictRequest, predict

    request = PredictRequest(
        experts={Expert(name): path for name, path in task.row.experts.items()},
        low=task.row.lr,
        out=work / f"{volume_stem(task.row.lr)}.nii.gz",
        pulse=task.row.pulse,
        spacing=task.row.spacing,
        checkpoint=settings.checkpoint,
        allow_extrapolation=settings.allow_extrapolation,
        exact=settings.exact,
        consistency=settings.consistency,
        memory_gb=settings.memory_gb,
        device=settings.device,
    )
    predict(request)


def _experts(task: Task, settings: VerbSettings, work: Path) -> None:
    from revoxel.sagnef.study.fill import FillSettings, run_row

    wanted = FillSettings(
        voxel_mm=settings.voxel_mm,
        out_dir=work,
        cold=settings.cold,
        device=settings.device,
        seed=settings.seed,
    )
    alone = Manifest(experts=list(task.experts), cases=[task.row.model_copy(update={"experts": {}})])
    run = run_row(alone, alone.cases[0], tuple(map(Expert, task.experts)), wanted)
    for path in run.paths.values():
        for file in (path, path.with_name(path.name.replace(".nii.gz", ".json"))):
            label = file.name[file.name.index("_SR-") :]
            file.rename(work / f"{volume_stem(task.row.lr)}{label}")


_VERBS: Mapping[Verb, Callable[[Task, VerbSettings, Path], None]] = {
    Verb.SUPERRESOLVE: _superresolve,
    Verb.PREDICT: _predict,
    Verb.EXPERTS: _experts,
}
