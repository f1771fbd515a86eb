"""A BIDS dataset in, BIDS derivatives out: the official validator accepts them, records name their files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quick_experts import quick_experts, write_expert_files, write_thick_scan
from revoxel.cli.main import app
from revoxel.cohort.derivatives import Derivatives, describe_derivatives
from revoxel.cohort.manifest_work import manifest_work
from revoxel.cohort.places import Layout, bids_places
from revoxel.cohort.plan import CohortPlan, Verb, VerbSettings, plan_cohort
from revoxel.cohort.verbs import carry_out
from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import read_volume
from revoxel.sagnef import pipeline
from revoxel.sagnef.planning import FusionKind

VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
    "bids-validator-deno"
)


@pytest.fixture(scope="module")
def dataset(brain, brain_affine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, one with two sessions; the second pulse has a contrast agent."""
    root = tmp_path_factory.mktemp("dataset")
    description = {"Name": "Small", "BIDSVersion": "1.9.0", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    for name in ("sub-01/ses-1/anat/sub-01_ses-1_T1w", "sub-01/ses-2/anat/sub-01_ses-2_ce-gadolinium_T1w"):
        write_thick_scan(root / f"{name}.nii.gz", brain, brain_affine)
    write_thick_scan(root / "sub-02/anat/sub-02_FLAIR.nii.gz", brain, brain_affine)
    (root / "sub-02/anat/sub-02_FLAIR.json").write_text('{"SkullStripped": true}')
    answer = CliRunner().invoke(
        app, ["cohort", "manifest", "--bids", str(root), "-o", str(root / "code" / "manifest.json")]
    )
    assert answer.exit_code == 0, answer.output
    return root


def planned(dataset: Path, **changes: object) -> CohortPlan:
    settings = {"verb": Verb.SUPERRESOLVE, "out": dataset / "derivatives" / "revoxel", "device": "cpu"}
    manifest = dataset / "code" / "manifest.json"
    return plan_cohort(manifest, VerbSettings(**(settings | changes)))


@pytest.fixture(scope="module")
def derivatives(dataset: Path) -> Path:
    """Results of all scans."""
    plan = planned(dataset, fusion=FusionKind.MEAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "superresolve", partial(pipeline.superresolve, run=quick_experts))
        for task in plan.tasks:
            carry_out(task, plan.settings)
    manifest_work(plan).begin()
    return plan.settings.out


def test_sessions_of_a_patient_stay_together(dataset: Path) -> None:
    rows = json.loads((dataset / "code" / "manifest.json").read_text())["cases"]
    assert sorted((row["patient"], row["timepoint"], row["pulse"]) for row in rows) == [
        ("01", "1", "t1n"),
        ("01", "2", "t1c"),
        ("02", "000", "t2f"),
    ]


def test_layout_is_chosen_by_the_dataset(dataset: Path) -> None:
    assert planned(dataset).layout is Layout.BIDS
    plain = plan_cohort(dataset / "code" / "manifest.json", planned(dataset).settings, layout="plain")
    assert plain.tasks[0].places.folder == Path(plain.tasks[0].name)


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_official_validator_finds_no_error(derivatives: Path) -> None:
    command = [str(VALIDATOR), str(derivatives), "--format", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(answer.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert answer.returncode == 0


def test_record_lies_beside_the_volume_and_names_what_is_there(derivatives: Path) -> None:
    folder = derivatives / "sub-01" / "ses-2" / "anat"
    record = read_sidecar(folder / "sub-01_ses-2_ce-gadolinium_desc-sagnef_T1w.json")
    names = dict(record["outputs"])
    assert names.pop("experts") == {}
    assert names["weights"] == "sub-01_ses-2_ce-gadolinium_label-T1w_desc-weights_probseg.nii.gz"
    assert all((folder / name).is_file() for name in names.values())
    assert record["Sources"] == ["bids:raw:sub-01/ses-2/anat/sub-01_ses-2_ce-gadolinium_T1w.nii.gz"]
    weights = read_sidecar(folder / names["weights"].replace(".nii.gz", ".json"))
    assert weights["Experts"] == ["BSPLINE", "ECLARE", "SMORE", "UNIRES"]
    description = read_sidecar(derivatives / "dataset_description.json")
    assert description["GeneratedBy"][0]["Name"] == "Revoxel"
    assert description["DatasetLinks"] == {"raw": "../.."}
    stripped = read_sidecar(derivatives / "sub-02" / "anat" / "sub-02_desc-sagnef_FLAIR.json")
    assert stripped["SkullStripped"] is True


def test_finished_tasks_are_known_and_changed_ones_say_why(dataset: Path, derivatives: Path) -> None:
    same = planned(dataset, fusion=FusionKind.MEAN)
    assert [task.why for task in same.tasks] == ["", "", ""]
    other = planned(dataset, fusion=FusionKind.MEAN, consistency=False)
    assert {task.why for task in other.tasks} == {"settings changed: consistency"}
    gate = planned(dataset)
    assert {task.why for task in gate.tasks} == {"input changed: gate"}


def test_raw_dataset_is_never_taken_for_results(dataset: Path) -> None:
    with pytest.raises(ValueError, match="must not be a raw BIDS dataset"):
        describe_derivatives(dataset, dataset, Derivatives("Results", "Made by a test.\n"))


def test_expert_volumes_have_names_of_their_own(dataset: Path, tmp_path: Path) -> None:
    scan = dataset / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    places = bids_places(scan)
    assert places.path("SR-SMORE", ".json") == Path("sub-01/ses-1/anat/sub-01_ses-1_desc-smore_T1w.json")
    write_expert_files(read_volume(scan), tmp_path / "scan")
    with pytest.raises(ValueError, match="must be a BIDS name"):
        bids_places(tmp_path / "scan_SR-SMORE.nii.gz")
