"""ASL scans of a dataset: derivatives as of one scan, failures listed, what is done stays done, a summary."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import quick_jobs
from asl_scans import M0_VALUE, TinyScan, head, write_image
from revoxel.asl.quantification.planning import QuantifySettings
from revoxel.asl.scans.stated import Stated
from revoxel.cli.main import app
from revoxel.cohort.asl import AslCohort, asl_work
from revoxel.cohort.cluster import ClusterSettings
from revoxel.cohort.ledger import Ledger, State
from revoxel.cohort.run import run_workload
from revoxel.cohort.workload import Workload
from revoxel.cohort.workspace import claimed
from revoxel.core.provenance import read_sidecar

NAMES = ("sub-01", "sub-02_ses-1_run-1", "sub-02_ses-1_run-2", "sub-03_ses-1")
VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
    "bids-validator-deno"
)


def write_dataset(root: Path) -> Path:
    """Three subjects: one joint session, one with two runs, one whose image is cut off."""
    joint = (("PCASL", "sub-01_acq-pcasl"), ("VSASL", "sub-01_acq-vsasl"))
    for labelling, name in joint:
        TinyScan(labelling=labelling, name=f"{name}_asl").write(root)
    for run in (1, 2):
        name = f"sub-02_ses-1_run-{run}"
        scan = TinyScan(name=f"{name}_asl", m0_name=f"{name}_m0scan", repeats=run, sigma=1e-4)
        scan.write(root, "sub-02/ses-1/perf")
    damaged = TinyScan(name="sub-03_ses-1_asl", m0_name="sub-03_ses-1_m0scan")
    image = damaged.write(root, "sub-03/ses-1/perf")
    image.write_bytes(image.read_bytes()[:-2000])
    tissue = root / "derivatives" / "seg" / "sub-01" / "anat"
    tissue.mkdir(parents=True)
    half = np.where(np.arange(head().shape[0])[:, None, None] < 9, 1.0, 0.0) * head()
    write_image(tissue / "sub-01_label-GM_probseg.nii.gz", half)
    write_image(tissue / "sub-01_label-WM_probseg.nii.gz", head() - half)
    (root / "dataset_description.json").write_text(
        '{"Name": "Tiny", "BIDSVersion": "1.9.0", "DatasetType": "raw"}'
    )
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("asl"))


def planned(dataset: Path, out: Path | None = None, **changes: object) -> Workload:
    settings = QuantifySettings(**changes)
    return asl_work(AslCohort(bids=dataset, out=out or results(dataset), settings=settings, threads=1))


def results(dataset: Path) -> Path:
    return dataset / "derivatives" / "revoxel-asl"


def here(work: Workload) -> Ledger:
    """Run a workload without workers."""
    work.begin()
    entries = {piece.name: piece.entry() for piece in work.pieces}
    ledger = Ledger(work.out, work.facts, entries)
    for piece in work.pieces:
        if piece.why:
            try:
                piece.job.function(*piece.job.arguments)
                ledger.end(piece.name, "", 0.1)
            except (ValueError, OSError) as error:
                ledger.end(piece.name, str(error), 0.1)
    work.finish(ledger)
    return ledger


def why(work: Workload) -> dict[str, str]:
    return {piece.name: piece.why for piece in work.pieces}


@pytest.fixture(scope="module")
def finished(dataset: Path) -> Ledger:
    return here(planned(dataset))


def test_one_task_per_subject_session_and_run(dataset: Path, tmp_path: Path) -> None:
    work = planned(dataset, tmp_path)
    assert why(work) == dict.fromkeys(NAMES, "new")
    assert [piece.folder for piece in work.pieces] == [
        "sub-01/perf",
        *["sub-02/ses-1/perf"] * 2,
        "sub-03/ses-1/perf",
    ]
    assert dict(work.pieces[1].labels) == {
        "subject": "sub-02",
        "session": "ses-1",
        "scan": "sub-02_ses-1_run-1",
    }


def test_a_damaged_scan_is_listed_and_the_others_have_their_maps(dataset: Path, finished: Ledger) -> None:
    assert list(finished.failed()) == ["sub-03_ses-1"]
    assert "sub-03_ses-1_asl.nii.gz" in finished.failed()["sub-03_ses-1"].reason
    out = results(dataset)
    maps = {path.name for path in (out / "sub-02/ses-1/perf").glob("*run-2_*")}
    assert {"sub-02_ses-1_run-2_cbf.nii.gz", "sub-02_ses-1_run-2_att.nii.gz"} < maps
    record = read_sidecar(out / finished.entries["sub-01"].record)
    assert len(record["channels"]) == 12
    assert not (out / "sub-03").exists()
    assert not list(out.glob(".cohort/work/*"))


def test_the_table_and_the_page_sum_up_every_scan(dataset: Path, finished: Ledger) -> None:
    rows = list(csv.DictReader((results(dataset) / "perfusion.csv").read_text().splitlines()))
    assert [row["scan"] for row in rows] == list(NAMES[:3])
    assert float(rows[0]["WM_median_cbf_ml_100g_min"]) > float(rows[0]["GM_median_cbf_ml_100g_min"]) > 40
    assert (rows[1]["GM_median_cbf_ml_100g_min"], rows[1]["session"]) == ("", "ses-1")
    assert int(rows[0]["n_warnings"]) == 1
    assert "VSASL" in rows[0]["warnings"]
    page = (results(dataset) / "perfusion.html").read_text()
    assert '<a href="sub-01/perf/sub-01_asl.html">sub-01</a>' in page
    assert "Without results" in page
    assert finished.failed()["sub-03_ses-1"].reason[:20] in page


@pytest.mark.usefixtures("finished")
def test_what_is_done_stays_done_and_every_change_is_named(dataset: Path) -> None:
    assert why(planned(dataset)) == {**dict.fromkeys(NAMES, ""), "sub-03_ses-1": "new"}
    assert set(why(planned(dataset, overwrite=True)).values()) == {"--overwrite"}
    other = why(planned(dataset, stated=Stated(alpha=0.7)))
    assert other["sub-01"] == "settings changed: stated"
    lost = results(dataset) / "sub-01/perf/sub-01_att.nii.gz"
    before = lost.read_bytes()
    lost.write_bytes(before[:-10])
    assert why(planned(dataset))["sub-01"] == "missing or changed: sub-01_att.nii.gz"
    lost.write_bytes(before)
    sidecar = dataset / "sub-01/perf/sub-01_m0scan.nii.gz"
    before = sidecar.read_bytes()
    write_image(sidecar, 2 * M0_VALUE * head())
    assert why(planned(dataset))["sub-01"].startswith("input changed: M0 of PCASL")
    sidecar.write_bytes(before)
    assert why(planned(dataset))["sub-01"] == ""


def test_a_scan_whose_sidecar_is_wrong_is_a_task_that_cannot_run(tmp_path: Path) -> None:
    TinyScan().write(tmp_path)
    TinyScan(name="sub-02_asl", m0_name="sub-02_m0scan").write(tmp_path, "sub-02/perf").with_name(
        "sub-02_asl.json"
    ).write_text("{")
    first, second = planned(tmp_path).pieces
    assert (first.why, first.problem) == ("new", "")
    assert "sub-02_asl.json must be valid JSON" in second.problem
    assert second.entry().state is State.FAILED


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
@pytest.mark.usefixtures("finished")
def test_official_validator_finds_no_error(dataset: Path) -> None:
    command = [str(VALIDATOR), str(results(dataset)), "--format", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(answer.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


class Silence:
    """A watcher that says nothing."""

    def opened(self, dashboard: str) -> None: ...

    def changed(self, ledger: Ledger, running: list[str], n_workers: int) -> None: ...


@pytest.mark.slow
def test_killed_worker_costs_one_scan_and_resuming_makes_only_that(dataset: Path, tmp_path: Path) -> None:
    killer = quick_jobs.kill_who_says_so(tmp_path)
    cluster = ClusterSettings(jobs=2, cores_per_worker=1, device="cpu", attempts=1)
    ledger = run_workload(quick_jobs.deadly(planned(dataset, tmp_path), NAMES[1]), cluster, Silence())
    killer.join(1)
    assert not killer.is_alive()
    assert sorted(ledger.failed()) == [NAMES[1], NAMES[3]]
    assert "worker process died once" in ledger.failed()[NAMES[1]].reason
    assert (tmp_path / "failures.csv").read_text().startswith("subject,session,scan,reason\n")
    again = planned(dataset, tmp_path)
    assert [piece.name for piece in again.pieces if piece.why] == [NAMES[1], NAMES[3]]
    with claimed(tmp_path):
        here(again)
    assert len((tmp_path / "perfusion.csv").read_text().splitlines()) == 1 + 3
    assert not list(tmp_path.glob(".cohort/work/*"))


def test_the_command_says_what_it_would_do_and_refuses_folders_without_scans(
    dataset: Path, tmp_path: Path
) -> None:
    line = ["cohort", "asl", str(dataset), "-o", str(tmp_path / "out"), "--dry-run"]
    answer = CliRunner().invoke(app, line, env={"COLUMNS": "160"})
    assert answer.exit_code == 0, answer.output
    assert "4 of 4 tasks to do, nothing is written" in " ".join(answer.stdout.split())
    assert not (tmp_path / "out").exists()
    empty = CliRunner().invoke(app, ["cohort", "asl", str(tmp_path), "-o", str(tmp_path / "out")])
    assert empty.exit_code == 2
    assert "must hold perf/*_asl.nii.gz" in empty.stderr
