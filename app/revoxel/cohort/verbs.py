"""What a worker does with one scan: run the verb in a folder of its own, then move the files."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from revoxel.cohort.keep import keep_results
from revoxel.cohort.plan import STATE_FOLDER, Task, Verb, VerbSettings
from revoxel.core.compute import set_threads
from revoxel.core.manifest import Manifest
from revoxel.core.volumes import volume_stem
from revoxel.experts.names import Expert
from revoxel.sagnef.study.checks import profile_for_experts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from revoxel.experts.profiles import SliceProfile

WORK_FOLDER = "work"
_KNOWN = 1.0


@dataclass(frozen=True)
class Made:
    """What a task returns to the process that sent it.

    Args:
        seconds: Time in the worker.
        warnings: What the record warns of.
    """

    seconds: float
    warnings: tuple[str, ...] = ()


def carry_out(task: Task, settings: VerbSettings) -> Made:
    """Do one task, whole or not at all.

    Args:
        task: Scan, and names of the results.
        settings: What to do with it.

    Returns:
        What there is to tell.

    Raises:
        ValueError: If the scan cannot be used.
        OSError: If a file cannot be read or written; what was begun is removed.
    """
    start = time.perf_counter()
    set_threads(settings.threads)
    work = settings.out / STATE_FOLDER / WORK_FOLDER / f"{task.name}-{uuid4().hex[:8]}"
    work.mkdir(parents=True)
    try:
        warnings = _VERBS[settings.verb](task, settings, work)
        seconds = round(time.perf_counter() - start, 1)
        keep_results(task, settings.out, work, seconds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Made(seconds, warnings)


def _superresolve(task: Task, settings: VerbSettings, work: Path) -> tuple[str, ...]:
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
    return tuple(superresolve(task.row.lr, work, wanted).record["warnings"])


def _known_profile(task: Task) -> SliceProfile | None:
    """A profile that was recorded or stated is told to the experts; an estimate is made anew."""
    return profile_for_experts(task.row) if task.row.profile.confidence >= _KNOWN else None


def _predict(task: Task, settings: VerbSettings, work: Path) -> tuple[str, ...]:
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
    return tuple(predict(request).record["warnings"])


def _experts(task: Task, settings: VerbSettings, work: Path) -> tuple[str, ...]:
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
    return ()


_VERBS: Mapping[Verb, Callable[[Task, VerbSettings, Path], tuple[str, ...]]] = {
    Verb.SUPERRESOLVE: _superresolve,
    Verb.PREDICT: _predict,
    Verb.EXPERTS: _experts,
}
