"""Run the experts on one thick-slice volume: resumable, one NIfTI and one JSON sidecar per expert."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from revoxel.core.compute import resolve_device
from revoxel.core.geometry import Grid, resample
from revoxel.core.provenance import read_sidecar, sha256_of, write_sidecar
from revoxel.core.pulses import Pulse
from revoxel.core.volumes import Volume, read_volume, volume_sidecar, write_volume
from revoxel.experts.bspline import bspline
from revoxel.experts.estimate_profile import ProfileEstimate, estimate_profile
from revoxel.experts.external import run_external
from revoxel.experts.learned import RECIPES, super_resolve_learned
from revoxel.experts.names import Expert
from revoxel.experts.prepare import Prepared, prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.schedule import Progress, Report, side_by_side
from revoxel.experts.unires import unires
from revoxel.experts.warm_start import load_warm_start


@dataclass(frozen=True, eq=False)
class ExpertRequest:
    """What to compute for one volume.

    Args:
        volume: The thick-slice volume.
        experts: Which experts.
        profile: Slice profile; `None` estimates it from the volume.
        voxel_mm: Isotropic voxel size of the results; `None` keeps the in-plane size.
        out_dir: Where to keep results; `None` keeps nothing.
        stem: Start of the file names.
        cold: Tune the learned experts from nothing.
        warm_dir: Other warm starts than the shipped ones.
        external: Executable of the original tool, per expert.
        companions: Further pulses of the same patient for joint total variation.
        device: `auto`, `cpu` or `cuda:N`.
        seed: Seed of the learned experts.
        overwrite: Replace existing results.
    """

    volume: Volume
    experts: tuple[Expert, ...] = tuple(Expert)
    profile: SliceProfile | None = None
    voxel_mm: float | None = 1.0
    out_dir: Path | None = None
    stem: str = "volume"
    cold: bool = False
    warm_dir: Path | None = None
    external: Mapping[Expert, Path] = field(default_factory=dict)
    companions: Mapping[Pulse, Volume] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False

    def path_of(self, expert: Expert) -> Path:
        """File of one expert's result.

        Raises:
            ValueError: If the request keeps nothing.
        """
        if self.out_dir is None:
            msg = "out_dir must be a folder to name result files, got None; set it in the request."
            raise ValueError(msg)
        return self.out_dir / f"{self.stem}_SR-{expert.value}.nii.gz"


@dataclass(frozen=True, eq=False)
class ExpertRun:
    """Results of the experts on one grid.

    Args:
        volumes: Input units, on `high_grid`, in `Expert` order.
        high_grid: Grid of all results.
        profile: Profile that the experts assumed.
        estimate: How it was estimated; `None` if it was given.
        prepared: The problem that was solved.
        seconds: Time per expert; 0 for results found on disk.
        implementations: Which program made each volume.
        paths: Files, where results are kept.
        excess_sharpness: Of the embedded learned experts, see `revoxel.experts.sharpness`.
    """

    volumes: dict[Expert, NDArray[np.float32]]
    high_grid: Grid
    profile: SliceProfile
    estimate: ProfileEstimate | None
    prepared: Prepared
    seconds: dict[Expert, float]
    implementations: dict[Expert, str]
    paths: dict[Expert, Path]
    excess_sharpness: dict[Expert, float] = field(default_factory=dict)


def run_experts(request: ExpertRequest, progress: Progress | None = None) -> ExpertRun:
    """Compute, or take from disk, the requested experts.

    The learned experts run side by side where the processor has two threads or more. Each result is kept as
    soon as it is there, whatever becomes of the others.

    Args:
        request: What to compute.
        progress: Called with an expert's name and its share done, by one thread at a time.

    Raises:
        FileExistsError: If a result made with other settings is in the way and `overwrite` is off.
        ValueError: If the volume is isotropic already.
    """
    report = progress or _silent
    estimate = None if request.profile is not None else _estimate(request, report)
    profile = request.profile if estimate is None else estimate.profile
    if profile is None:  # pragma: no cover - one of the two is set above
        raise RuntimeError(request)
    prepared = prepare(request.volume, profile, request.voxel_mm)
    identity = _identity(request.volume)
    experts = sorted(request.experts, key=list(Expert).index)
    records = {expert: _record(request, expert, profile, identity) for expert in experts}
    found = {expert: _found(request, expert, record) for expert, record in records.items()}
    kept = {expert: result for expert, result in found.items() if result is not None}
    for expert in kept:
        report(expert.value, 1.0)
    missing = {expert: record for expert, record in records.items() if expert not in kept}
    made = kept | _make_all(request, prepared, missing, report)
    results = {expert: made[expert] for expert in experts}
    excess = {expert: result.excess_sharpness for expert, result in results.items()}
    return ExpertRun(
        volumes={expert: result.volume for expert, result in results.items()},
        high_grid=prepared.high_grid,
        profile=profile,
        estimate=estimate,
        prepared=prepared,
        seconds={expert: result.seconds for expert, result in results.items()},
        implementations={expert: str(record["implementation"]) for expert, record in records.items()},
        paths={} if request.out_dir is None else {expert: request.path_of(expert) for expert in experts},
        excess_sharpness={expert: value for expert, value in excess.items() if value is not None},
    )


@dataclass(frozen=True, eq=False)
class _Result:
    volume: NDArray[np.float32]
    seconds: float = 0.0
    excess_sharpness: float | None = None


def _silent(_stage: str, _share: float) -> None:
    pass


def _estimate(request: ExpertRequest, report: Progress) -> ProfileEstimate:
    report("profile", 0.0)
    estimate = estimate_profile(request.volume)
    report("profile", 1.0)
    return estimate


def _make_all(
    request: ExpertRequest,
    prepared: Prepared,
    records: Mapping[Expert, dict[str, object]],
    report: Progress,
) -> dict[Expert, _Result]:
    jobs = {expert: partial(_make, request, prepared, expert, record) for expert, record in records.items()}
    on_processor = resolve_device(request.device).type == "cpu"
    together = RECIPES.keys() - request.external.keys() if on_processor else set()
    made = {e: job(partial(report, e.value)) for e, job in jobs.items() if e not in together}
    learned = {e.value: job for e, job in jobs.items() if e in together}
    return made | {Expert(name): result for name, result in side_by_side(learned, report).items()}


def _make(
    request: ExpertRequest, prepared: Prepared, expert: Expert, record: dict[str, object], report: Report
) -> _Result:
    start = time.perf_counter()
    volume, excess_sharpness = _compute(request, prepared, expert, report)
    result = _Result(volume, time.perf_counter() - start, excess_sharpness)
    if request.out_dir is not None:
        _keep(request, expert, result, prepared.high_grid, record)
    report(1.0)
    return result


def _compute(
    request: ExpertRequest, prepared: Prepared, expert: Expert, report: Report
) -> tuple[NDArray[np.float32], float | None]:
    problem = prepared.problem
    if expert in request.external:
        tool = request.external[expert]
        return run_external(expert, tool, request.volume, prepared.high_grid, problem.profile), None
    if expert is Expert.BSPLINE:
        return prepared.restore(bspline(problem)), None
    device = resolve_device(request.device)
    if expert is Expert.UNIRES:
        companions = _companions(request, prepared)
        return prepared.restore(unires(problem, companions, progress=report, device=device)), None
    warm = None if request.cold else load_warm_start(expert, problem.ratio, request.warm_dir)
    result = super_resolve_learned(
        problem, RECIPES[expert], warm, seed=request.seed, device=device, progress=report
    )
    return prepared.restore(result.volume), result.excess_sharpness


def _companions(request: ExpertRequest, prepared: Prepared) -> list[torch.Tensor]:
    others = []
    for volume in request.companions.values():
        data = resample(volume.data, volume.grid, request.volume.grid)
        aligned = Volume(data=data, grid=request.volume.grid)
        other = prepare(aligned, prepared.problem.profile, request.voxel_mm)
        others.append((other.low[prepared.box] / other.scale).contiguous())
    return others


def _identity(volume: Volume) -> str:
    if volume.path is not None and volume.path.is_file():
        return sha256_of(volume.path)
    return hashlib.sha256(np.ascontiguousarray(volume.data).tobytes()).hexdigest()


def _record(
    request: ExpertRequest, expert: Expert, profile: SliceProfile, identity: str
) -> dict[str, object]:
    own = f"revoxel {expert.value.lower()}" + (" (cold)" if request.cold and expert in RECIPES else "")
    return {
        "expert": expert.value,
        "implementation": str(request.external.get(expert, own)),
        "input_sha256": identity,
        "profile": profile.label,
        "profile_std_mm": round(profile.std_mm, 6),
        "voxel_mm": request.voxel_mm,
        "companions": {pulse.value: _identity(v) for pulse, v in request.companions.items()},
        "seed": request.seed,
        "separation_mm": round(max(request.volume.grid.spacing_mm), 6),
    }


def _found(request: ExpertRequest, expert: Expert, record: dict[str, object]) -> _Result | None:
    if request.out_dir is None or request.overwrite or not request.path_of(expert).exists():
        return None
    path = request.path_of(expert)
    sidecar = volume_sidecar(path)
    known = read_sidecar(sidecar) if sidecar.exists() else {}
    changed = sorted(name for name, value in record.items() if known.get(name) != value)
    if changed:
        msg = (
            f"{path} exists but was made with other {', '.join(changed)}; use --overwrite or another folder."
        )
        raise FileExistsError(msg)
    excess = known.get("excess_sharpness")
    return _Result(read_volume(path).data, excess_sharpness=None if excess is None else float(excess))


def _keep(
    request: ExpertRequest, expert: Expert, result: _Result, grid: Grid, record: dict[str, object]
) -> None:
    path = request.path_of(expert)
    made: dict[str, object] = {"seconds": round(result.seconds, 2), "device": request.device}
    if result.excess_sharpness is not None:
        made["excess_sharpness"] = round(result.excess_sharpness, 4)
    # The volume comes last: its presence says that the pair is complete.
    path.unlink(missing_ok=True)
    write_sidecar(volume_sidecar(path), record | made, overwrite=True)
    write_volume(path, result.volume, grid)
