"""A cohort in real worker processes: dying workers, damaged scans and interruptions cost only themselves."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

import quick_jobs
import tiny_study
from revoxel.cohort.cluster import ClusterSettings
from revoxel.cohort.ledger import Ledger, State
from revoxel.cohort.manifest_work import manifest_work
from revoxel.cohort.plan import CohortPlan, Verb, VerbSettings, plan_cohort
from revoxel.cohort.run import run_workload
from revoxel.cohort.workspace import claimed
from revoxel.core.provenance import read_sidecar

TWO_WORKERS = ClusterSettings(jobs=2, cores_per_worker=1, device="cpu")


class Witness:
    """Notes what a watcher is told."""

    def __init__(self) -> None:
        self.dashboard = ""
        self.most_running = 0

    def opened(self, dashboard: str) -> None:
        self.dashboard = dashboard

    def changed(self, ledger: Ledger, running: list[str], n_workers: int) -> None:
        self.most_running = max(self.most_running, len(running))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), side=20)


def plan(study: Path, out: Path, **changes: object) -> CohortPlan:
    settings = VerbSettings(verb=Verb.PREDICT, out=out, threads=1, device="cpu")
    return plan_cohort(study, replace(settings, **changes))


def todo(planned: CohortPlan) -> dict[str, str]:
    return {task.row.subject: task.why for task in planned.tasks if task.why}


@pytest.mark.slow
def test_killed_worker_costs_one_result_and_resuming_makes_only_that(study: Path, tmp_path: Path) -> None:
    killer = quick_jobs.kill_who_says_so(tmp_path)
    witness = Witness()
    once = replace(TWO_WORKERS, attempts=1)
    work = quick_jobs.deadly(manifest_work(plan(study, tmp_path)), "p1_5mm_t1c")
    ledger = run_workload(work, once, witness)
    killer.join(1)
    assert not killer.is_alive()
    assert witness.most_running == 2
    assert witness.dashboard.startswith("http://127.0.0.1:")
    assert {name: entry.state for name, entry in ledger.entries.items()} == {
        "p0_5mm_t1c": State.DONE,
        "p1_5mm_t1c": State.FAILED,
        "p2_5mm_t1c": State.DONE,
        "p3_5mm_t1c": State.DONE,
    }
    (row,) = csv.DictReader((tmp_path / "failures.csv").read_text().splitlines())
    assert (row["subject"], row["spacing"], row["pulse"]) == ("p1", "5mm", "t1c")
    assert "worker process died once" in row["reason"]
    assert list(tmp_path.glob(".cohort/work/*/half.nii.gz"))
    assert not (tmp_path / "p1_5mm_t1c").exists()

    again = plan(study, tmp_path)
    assert todo(again) == {"p1": "new"}
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*_sagnef.nii.gz")}
    assert len(kept) == 3
    ledger = run_workload(manifest_work(again), TWO_WORKERS, Witness())
    assert ledger.count(State.DONE) == 4
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list((tmp_path / "p1_5mm_t1c").iterdir())) == 6
    assert not list(tmp_path.glob(".cohort/work/*"))
    assert (tmp_path / "failures.csv").read_text() == "subject,spacing,pulse,reason\n"


@pytest.mark.slow
def test_task_of_a_killed_worker_is_begun_again_and_a_damaged_scan_is_listed(
    tmp_path: Path,
) -> None:
    study = tiny_study.write_study(tmp_path, side=20)
    (tmp_path / "p2_lr.nii.gz").write_bytes((tmp_path / "p2_lr.nii.gz").read_bytes()[:300])
    out = tmp_path / "out"
    out.mkdir()
    killer = quick_jobs.kill_who_says_so(out)
    work = quick_jobs.deadly(manifest_work(plan(study, out)), "p1_5mm_t1c")
    ledger = run_workload(work, TWO_WORKERS, Witness())
    assert not killer.is_alive()
    assert set(ledger.failed()) == {"p2_5mm_t1c"}
    assert "p2_lr.nii.gz must be a readable image" in ledger.failed()["p2_5mm_t1c"].reason
    account = read_sidecar(out / "cohort.json")
    assert account["manifest"] == str(study)
    assert account["verb"] == "predict"
    by_subject = {task["subject"]: task for task in account["tasks"]}
    assert by_subject["p1"]["state"] == "done"
    assert by_subject["p1"]["record"] == "p1_5mm_t1c/p1_lr_sagnef.json"
    assert "record" not in by_subject["p2"]
    record = json.loads((out / by_subject["p1"]["record"]).read_text())
    assert (out / "p1_5mm_t1c" / record["outputs"]["fused"]).is_file()
    assert not list(out.glob(".cohort/work/p2*"))


def test_folder_takes_one_run_at_a_time_and_is_cleared_of_leavings(tmp_path: Path) -> None:
    leaving = tmp_path / ".cohort" / "work" / "a" / "half.nii.gz"
    leaving.parent.mkdir(parents=True)
    leaving.touch()
    with claimed(tmp_path):
        assert not leaving.exists()
        with pytest.raises(ValueError, match="one run at a time"), claimed(tmp_path):
            pass
    with claimed(tmp_path):
        pass
