"""The engine on a real scheduler with a real worker process: values, reasons, deaths, environments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import quick_jobs
from revoxel.cohort.cluster import ClusterSettings, open_client
from revoxel.cohort.engine import Finished, Job, run_jobs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    settings = ClusterSettings(jobs=1, cores_per_worker=3, attempts=2, device="cpu")
    with open_client(settings, 5) as client:
        yield client


def run(client, *jobs: Job) -> dict[str, Finished]:
    return {finished.name: finished for finished in run_jobs(client, jobs)}


def test_failures_are_named_and_the_rest_goes_on(client) -> None:
    kinds = {"disk": "out.nii.gz: No space left on device", "value": "x must be y", "odd": "RuntimeError: x"}
    jobs = [Job(kind, quick_jobs.fail, (kind,)) for kind in kinds]
    ended = run(client, *jobs, Job("fine", quick_jobs.double, (21,)))
    assert ended["fine"].value == 42
    assert not ended["fine"].reason
    for kind, words in kinds.items():
        assert ended[kind].reason.startswith(words)


def test_job_survives_the_death_of_its_worker(client, tmp_path: Path) -> None:
    ended = run(client, Job("mortal", quick_jobs.die_once, (str(tmp_path),)))
    assert ended["mortal"].value == "second attempt"


def test_worker_has_its_threads_and_sees_no_gpu_that_was_not_given(client) -> None:
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    ended = run(client, *(Job(name, quick_jobs.environment, (name,)) for name in names))
    assert [ended[name].value for name in names] == ["3", ""]


def test_address_of_a_running_scheduler_is_used_and_left_running(client) -> None:
    address = client.scheduler.address
    with open_client(ClusterSettings(scheduler=address), 1) as other:
        assert run(other, Job("there", quick_jobs.double, (1,)))["there"].value == 2
    assert run(client, Job("still", quick_jobs.double, (2,)))["still"].value == 4
