"""A cohort of synthetic subjects for `scaling.py`: cases per minute by the number of workers and threads."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from scaling_work import Shape, cut_tuning, run_chain, write_scan

from revoxel.cohort.cluster import ClusterSettings, open_client
from revoxel.cohort.engine import run_jobs
from revoxel.cohort.manifest_work import manifest_work
from revoxel.cohort.plan import Verb, VerbSettings, plan_cohort
from revoxel.core.compute import set_threads
from revoxel.experts.names import Expert


@dataclass(frozen=True)
class Crew:
    """Who works.

    Attributes:
        workers: Processes.
        threads: Processor threads of each.
    """

    workers: int
    threads: int


@dataclass(frozen=True)
class CohortTime:
    """Seconds on the wall.

    Attributes:
        start_up: Until every worker has done one small case.
        work: All cases after that.
    """

    start_up: float
    work: float


def write_cohort(folder: Path, n_subjects: int, shape: Shape) -> Path:
    """Scans and the manifest that lists them."""
    cases = []
    for name in (f"subject{number}" for number in range(n_subjects)):
        write_scan(shape, folder / f"{name}_t1c.nii.gz")
        case = {"subject": name, "patient": name, "pulse": "t1c", "spacing": "5mm", "axis": 2}
        profile = {"label": "gauss:5", "std_mm": 2.12}
        cases.append({**case, "profile": profile, "lr": f"{name}_t1c.nii.gz"})
    path = folder / "manifest.json"
    path.write_text(json.dumps({"schema": 1, "experts": list(Expert), "cases": cases}), encoding="utf-8")
    return path


def cohort_time(manifest: Path, warm: Path, crew: Crew, n_tuning_steps: int) -> CohortTime:
    """Super-resolve a manifest by the cohort's own plan, workers and engine.

    Args:
        manifest: From `write_cohort`.
        warm: A small scan.
        crew: Who works.
        n_tuning_steps: Steps of the learned experts on every scan.

    Raises:
        RuntimeError: If a case fails.
    """
    out = manifest.parent / f"out_{crew.workers}_{crew.threads}"
    settings = VerbSettings(verb=Verb.SUPERRESOLVE, out=out, threads=crew.threads, device="cpu")
    jobs = [piece.job for piece in manifest_work(plan_cohort(manifest, settings)).pieces]
    cluster = ClusterSettings(jobs=crew.workers, cores_per_worker=crew.threads, device="cpu")
    start = time.perf_counter()
    with open_client(cluster, len(jobs)) as client:
        client.run(_warm_up, warm, out, crew.threads, n_tuning_steps)
        begin = time.perf_counter()
        for finished in run_jobs(client, jobs):
            if finished.reason:
                raise RuntimeError(finished.reason)
        end = time.perf_counter()
    return CohortTime(begin - start, end - begin)


def _warm_up(warm: Path, out: Path, threads: int, n_tuning_steps: int, dask_worker: object = None) -> None:
    set_threads(threads)
    cut_tuning(n_tuning_steps)
    run_chain(warm, out / f"warm_{id(dask_worker)}", "cpu")
