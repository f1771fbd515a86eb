"""Where tasks run: options that are refused, shares of this machine, job scripts, a pretended SLURM."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import dask
import pytest

import quick_jobs
from revoxel.cohort import cluster
from revoxel.cohort.cluster import (
    QUEUES,
    ClusterSettings,
    job_queues,
    local_environments,
    open_client,
    queue_arguments,
)
from revoxel.cohort.engine import Job, run_jobs

# Its caller removes the script at once.
SBATCH = """#!/bin/sh
cp "$1" "$0.script"
setsid sh "$0.script" >"$0.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
for job in "$@"; do kill -- "-$job" 2>/dev/null; done
exit 0
"""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheduler": "sge"}, "--scheduler must be local, slurm, pbs, lsf or an address"),
        ({"queue": "short"}, "--queue must go with --scheduler slurm"),
        ({"scheduler": "tcp://there:1", "walltime": "1:00"}, "--walltime must go with"),
    ],
)
def test_option_that_would_be_ignored_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClusterSettings(**options)


def test_workers_share_the_cores_and_never_outnumber_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    settings = ClusterSettings(cores_per_worker=3, device="cpu")
    assert len(local_environments(settings, 100)) == 2
    assert len(local_environments(settings, 1)) == 1
    assert ClusterSettings(device="cpu").threads == 4
    assert local_environments(settings, 100)[0]["OMP_NUM_THREADS"] == "3"
    assert len(local_environments(ClusterSettings(jobs=5, device="cpu"), 100)) == 5


def test_each_gpu_gets_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_visible_gpus", lambda device: ["0", "1", "2", "5"])

    def seen(**options: int) -> list[str]:
        found = local_environments(ClusterSettings(**options), 100)
        return [environment["CUDA_VISIBLE_DEVICES"] for environment in found]

    assert seen() == ["0", "1", "2", "5"]
    assert seen(gpus_per_worker=2) == ["0,1", "2,5"]
    assert seen(gpus_per_worker=3) == ["0,1,2"]
    assert seen(jobs=1) == ["0"]
    with pytest.raises(ValueError, match="at most the 4 GPUs"):
        seen(gpus_per_worker=5)


def test_task_sees_the_gpu_of_its_worker_as_the_first() -> None:
    assert ClusterSettings(device="cuda:3").task_device == "auto"
    assert ClusterSettings(device="cuda:3", scheduler="slurm").task_device == "cuda:3"
    assert ClusterSettings(device="cpu").task_device == "cpu"


@pytest.mark.parametrize("scheduler", QUEUES)
def test_job_script_asks_for_what_options_state(scheduler: str) -> None:
    settings = ClusterSettings(
        scheduler=scheduler, cores_per_worker=6, memory="20GB", queue="short", walltime="02:00:00"
    )
    with getattr(job_queues(), QUEUES[scheduler])(**queue_arguments(settings)) as opened:
        script = opened.job_script()
    asked = {
        "slurm": ("-p short", "--cpus-per-task=6", "--mem=19G", "-t 02:00:00"),
        "pbs": ("-q short", "ncpus=6:mem=19GB", "walltime=02:00:00"),
        "lsf": ("-q short", "-n 6", "-W 02:00:00"),
    }
    assert all(words in script for words in asked[scheduler])
    # dask-jobqueue would give a worker as many threads as cores; the last word counts.
    assert script.split("--nthreads")[-1].split()[0] == "1"


def test_gpus_of_a_queue_are_asked_for_in_its_words() -> None:
    slurm = ClusterSettings(scheduler="slurm", gpus_per_worker=2)
    assert queue_arguments(slurm)["job_extra_directives"] == ["--gres=gpu:2"]
    with pytest.raises(ValueError, match="resource-spec"):
        queue_arguments(ClusterSettings(scheduler="pbs", gpus_per_worker=1))


def test_site_configuration_holds_where_no_option_says_otherwise() -> None:
    site = {"cores": 12, "memory": "40GB", "job-extra-directives": ["--account=me"]}
    with dask.config.set({"jobqueue.slurm": site}):
        arguments = queue_arguments(ClusterSettings(scheduler="slurm", memory="8GB"))
    assert (arguments["cores"], arguments["memory"]) == (12, "8GB")
    assert arguments["job_extra_directives"] == ["--account=me"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "must be an existing YAML"), ("a: [", "must be YAML"), ("1", "must hold")]
)
def test_bad_cluster_configuration_is_named(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    if content is not None:
        path.write_text(content)
    settings = ClusterSettings(scheduler="slurm", config=path)
    with pytest.raises((ValueError, FileNotFoundError), match=words), open_client(settings, 1):
        pass


@pytest.mark.slow
def test_jobs_of_a_batch_system_do_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands are pretended; all else, from the job script to the worker that calls back, is real."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(quick_jobs.__file__).parent))
    site = tmp_path / "site.yaml"
    site.write_text("jobqueue: {slurm: {local-directory: " + str(tmp_path) + ", interface: lo}}")
    settings = ClusterSettings(
        scheduler="slurm", jobs=1, cores_per_worker=1, memory="1GB", config=site, device="cpu"
    )
    with open_client(settings, 2) as client:
        jobs = [Job(f"job {number}", quick_jobs.double, (number,)) for number in (1, 2)]
        ended = {finished.name: finished.value for finished in run_jobs(client, jobs)}
    assert ended == {"job 1": 2, "job 2": 4}


def test_queues_leave_ctrl_c_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dask_jobqueue")]:
        monkeypatch.delitem(sys.modules, name)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert hasattr(job_queues(), QUEUES["slurm"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
