"""What is done stays done; whatever a result depends on, when it changes, is the reason to do it again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import study_folder
import tiny_study
from revoxel.cohort import plan as plan_module
from revoxel.cohort.ledger import Entry, Ledger, State
from revoxel.cohort.manifest_work import manifest_work
from revoxel.cohort.plan import Verb, VerbSettings, plan_cohort
from revoxel.cohort.run import run_workload
from revoxel.cohort.verbs import carry_out
from revoxel.core.manifest import load_manifest
from revoxel.core.volumes import read_volume, write_volume


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Manifest and results of one fused case."""
    folder = tmp_path_factory.mktemp("study")
    manifest = tiny_study.write_study(folder, side=16)
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"cases": content["cases"][2:3], "folds": []}))
    task = plan_cohort(manifest, settings(folder / "out")).tasks[0]
    carry_out(task, settings(folder / "out"))
    return manifest, folder / "out"


def settings(out: Path, **changes: object) -> VerbSettings:
    return replace(VerbSettings(verb=Verb.PREDICT, out=out, threads=1, device="cpu"), **changes)


def why(manifest: Path, out: Path, **changes: object) -> str:
    return plan_cohort(manifest, settings(out, **changes)).tasks[0].why


def test_same_files_and_settings_are_done(done: tuple[Path, Path]) -> None:
    assert why(*done) == ""
    assert why(*done, memory_gb=2.0, threads=7) == ""  # they move a result by thousandths of a dB
    plan = plan_cohort(done[0], settings(done[1]), overwrite=True)
    assert plan.tasks[0].why == "--overwrite"


def test_every_change_is_named(done: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    manifest, _ = done
    assert why(manifest, tmp_path) == "new"
    assert why(*done, exact=True, consistency=False) == "settings changed: consistency, exact"
    scan = manifest.parent / "p2_lr.nii.gz"
    before = scan.read_bytes()
    volume = read_volume(scan)
    write_volume(scan, np.flip(volume.data, 0), volume.grid, overwrite=True)
    assert why(*done) == "input changed: lr"
    scan.write_bytes(before)
    monkeypatch.setattr(plan_module, "__version__", "99")
    assert why(*done).startswith("was made by version ")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:-5]),
            "missing or changed: p2_5mm_t1c/p2_lr_weights",
        ),
        (lambda path: path.unlink(), "missing or changed: p2_5mm_t1c/p2_lr_weights"),
    ],
)
def test_damaged_result_is_made_again(done: tuple[Path, Path], harm, words: str) -> None:
    path = done[1] / "p2_5mm_t1c" / "p2_lr_weights.nii.gz"
    before = path.read_bytes()
    harm(path)
    assert why(*done).startswith(words)
    path.write_bytes(before)
    assert why(*done) == ""


def test_damaged_account_and_missing_inputs_are_told(done: tuple[Path, Path], tmp_path: Path) -> None:
    account = done[1] / ".cohort" / "p2_5mm_t1c.json"
    before = account.read_bytes()
    account.write_text("{")
    assert why(*done) == "its account is damaged"
    account.write_bytes(before)
    content = json.loads(done[0].read_text())
    content["cases"][0]["experts"].pop("SMORE")
    content["root"] = str(done[0].parent)
    without = tmp_path / "manifest.json"
    without.write_text(json.dumps(content))
    task = plan_cohort(without, settings(tmp_path)).tasks[0]
    assert "no volume of SMORE" in task.problem
    content["cases"][0]["lr"] = "nowhere.nii.gz"
    without.write_text(json.dumps(content))
    task = plan_cohort(without, settings(tmp_path, verb=Verb.EXPERTS)).tasks[0]
    assert "nowhere.nii.gz cannot be read" in task.problem


class Silence:
    """A watcher that says nothing."""

    def opened(self, dashboard: str) -> None: ...

    def changed(self, ledger: Ledger, running: list[str], n_workers: int) -> None: ...


def test_experts_are_made_under_the_names_of_the_scan_and_entered_in_a_new_manifest(tmp_path: Path) -> None:
    scan = study_folder.write_subject(tmp_path, "sub-1", experts=())
    row = {"subject": "sub-1", "patient": "1", "pulse": "t1c", "spacing": "5mm", "axis": 2}
    row |= {"profile": {"label": "rect:5", "std_mm": 1.4434}, "lr": str(scan)}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"schema": 1, "experts": ["BSPLINE"], "cases": [row]}))
    wanted = settings(tmp_path / "out", verb=Verb.EXPERTS)
    carry_out(plan_cohort(manifest, wanted).tasks[0], wanted)
    assert {path.name for path in (tmp_path / "out" / "sub-1_5mm_t1c").iterdir()} == {
        "sub-1-t1c_SR-BSPLINE.json",
        "sub-1-t1c_SR-BSPLINE.nii.gz",
    }
    ledger = run_workload(
        manifest_work(plan_cohort(manifest, wanted)), None, Silence()
    )  # nothing to do: no cluster
    assert ledger.count(State.DONE) == 1
    filled = load_manifest(tmp_path / "out" / "manifest.json")
    assert filled.missing_files(filled.cases, need_truth=False) == []
    assert filled.changed_files() == []
    assert json.loads(manifest.read_text())["cases"][0].get("experts") is None


def test_full_disk_is_told_by_the_account_and_stops_nothing(tmp_path: Path, caplog) -> None:
    entry = Entry({"subject": "s"}, "folder", "folder/record.json")
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    ledger = Ledger(in_the_way, {}, {"a": entry})
    ledger.end("a", "No space left on device", 1.0)
    ledger.write()
    assert "could not be written" in caplog.text
    assert ledger.failed() == {"a": entry}
