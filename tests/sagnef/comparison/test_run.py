"""A whole evaluation on a tiny study: every row, resumed, honest about what the gate has seen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import tiny_study
from quick_experts import write_gate
from revoxel.core.checkpoints import load_checkpoint, save_checkpoint
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.baselines import Baseline
from revoxel.sagnef.comparison.outputs import console_tables, save_evaluation
from revoxel.sagnef.comparison.plan import TRAINED_ON, EvaluationRequest, plan_evaluation
from revoxel.sagnef.comparison.rows import FusionRow
from revoxel.sagnef.comparison.run import Evaluation, run_evaluation
from revoxel.sagnef.comparison.summary import ROW_ORDER
from revoxel.sagnef.regions import RegionName

NEVER = {
    FusionRow.CONTROL,
    FusionRow.RESIDUAL,
}  # no control gate is given, and the quick gate has no residual


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    manifest = tiny_study.write_study(folder)
    content = json.loads(manifest.read_text())
    for case in content["cases"]:
        case["condition"] = "right"
    manifest.write_text(json.dumps(content))
    labels = np.zeros((32, 32, 32), dtype=np.float32)
    labels[10:20, 10:20, 10:20] = 1
    nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / "seg-p3.nii.gz")
    write_gate(folder / "gate.pt")
    return manifest


@pytest.fixture(scope="module")
def request_(study: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationRequest:
    return EvaluationRequest(
        manifest=study,
        folds=("fold0",),
        out=tmp_path_factory.mktemp("out"),
        spacings=(Spacing.mm5,),
        pulses=(Pulse.t1c,),
        checkpoint=study.parent / "gate.pt",
        labels="seg-{patient}.nii.gz",
    )


@pytest.fixture(scope="module")
def evaluation(request_: EvaluationRequest) -> Evaluation:
    return run_evaluation(plan_evaluation(request_))


@pytest.fixture
def copied(study: Path, tmp_path: Path) -> Path:
    """A study that a test may damage."""
    return Path(shutil.copytree(study.parent, tmp_path / "study")) / study.name


def only_gate(manifest: Path, trained_on: list[str]) -> Path:
    """The gate again, saying whom it was trained on."""
    checkpoint = load_checkpoint(manifest.parent / "gate.pt")
    protocol = checkpoint.protocol | {TRAINED_ON: trained_on}
    return save_checkpoint(manifest.parent / "named.pt", checkpoint.states, protocol)


def test_every_row_stands_in_every_region(evaluation: Evaluation) -> None:
    (result,) = evaluation.results
    assert set(result.regions) == set(RegionName)
    for region in result.regions.values():
        assert set(region.rows) == set(ROW_ORDER) - NEVER
    assert evaluation.failures == {}


def test_best_expert_is_that_of_training_and_oracles_bound_the_rest(evaluation: Evaluation) -> None:
    rows = evaluation.results[0].regions["brain"].rows
    assert evaluation.results[0].best_expert == "SMORE"
    assert rows[Baseline.BEST] == rows["SMORE"]
    experts = [rows[name].rmse for name in tiny_study.BLURS]
    assert rows[Baseline.ORACLE_VOLUME].rmse == min(experts)
    assert rows[Baseline.ORACLE_VOXEL].rmse < rows[Baseline.ORACLE_CUBE].rmse <= min(experts)
    assert rows[FusionRow.STRICT].rmse < max(experts)


def test_usage_is_that_of_the_gate(evaluation: Evaluation) -> None:
    """The quick gate starts at weights .1, .2, .6, .1 and was never trained."""
    (result,) = evaluation.results
    means = {name: usage.mean_weight for name, usage in result.usage.items()}
    assert means == pytest.approx({"BSPLINE": 0.1, "ECLARE": 0.2, "SMORE": 0.6, "UNIRES": 0.1}, abs=0.01)
    assert result.usage["SMORE"].dominant_share == 1
    assert result.entropy_nat == pytest.approx(1.089, abs=0.02)


def test_finished_cases_are_not_scored_again(request_: EvaluationRequest, evaluation: Evaluation) -> None:
    again = run_evaluation(plan_evaluation(request_))
    assert again.n_kept == 1
    assert again.results == evaluation.results


def test_changed_volume_is_scored_again(copied: Path, request_: EvaluationRequest, tmp_path: Path) -> None:
    request = replace(request_, manifest=copied, checkpoint=None, out=tmp_path / "out")
    first = run_evaluation(plan_evaluation(request))
    path = copied.parent / "p3_SR-SMORE.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * np.float32(1.01), image.affine), path)
    second = run_evaluation(plan_evaluation(request))
    assert second.n_kept == 0
    assert second.results[0].regions["brain"].rows["SMORE"] != first.results[0].regions["brain"].rows["SMORE"]
    assert (
        second.results[0].regions["brain"].rows["ECLARE"] == first.results[0].regions["brain"].rows["ECLARE"]
    )


def test_half_written_result_is_scored_again(
    request_: EvaluationRequest, evaluation: Evaluation, tmp_path: Path
) -> None:
    plan = plan_evaluation(replace(request_, out=Path(shutil.copytree(request_.out, tmp_path / "out"))))
    (group,) = plan.groups
    plan.result_path(group, group.cases[0]).write_text('{"subject": "p3"')
    again = run_evaluation(plan)
    assert again.n_kept == 0
    assert again.results[0].regions == evaluation.results[0].regions


def test_unreadable_case_is_listed_and_the_rest_goes_on(
    copied: Path, request_: EvaluationRequest, tmp_path: Path
) -> None:
    content = json.loads(copied.read_text())
    content["folds"].append({"name": "two", "train": ["p0", "p1"], "val": [], "test": ["p2", "p3"]})
    copied.write_text(json.dumps(content))
    (copied.parent / "p2_SR-SMORE.nii.gz").write_bytes(b"damaged")
    request = replace(request_, manifest=copied, folds=("two",), checkpoint=None, out=tmp_path / "out")
    evaluation = run_evaluation(plan_evaluation(request))
    assert [result.subject for result in evaluation.results] == ["p3"]
    ((name, reason),) = evaluation.failures.items()
    assert "p2" in name
    assert "p2_SR-SMORE.nii.gz" in reason
    assert "\n" not in reason


def test_unreadable_training_row_is_left_out_and_listed(
    copied: Path, request_: EvaluationRequest, tmp_path: Path
) -> None:
    (copied.parent / "p0_SR-SMORE.nii.gz").unlink()
    request = replace(request_, manifest=copied, checkpoint=None, out=tmp_path / "out")
    evaluation = run_evaluation(plan_evaluation(request))
    assert len(evaluation.results) == 1
    ((name, _),) = evaluation.failures.items()
    assert "training row p0" in name


def test_fold_whose_training_cannot_be_read_fails_its_cases(
    copied: Path, request_: EvaluationRequest, tmp_path: Path
) -> None:
    for name in ("p0", "p1"):
        (copied.parent / f"{name}.nii.gz").unlink()
    evaluation = run_evaluation(
        plan_evaluation(replace(request_, manifest=copied, checkpoint=None, out=tmp_path / "out"))
    )
    assert evaluation.results == ()
    assert len(evaluation.failures) == 3


def test_gate_that_saw_the_test_patient_is_refused_or_marked(
    study: Path, request_: EvaluationRequest, tmp_path: Path
) -> None:
    request = replace(request_, checkpoint=only_gate(study, ["p0", "p3"]), out=tmp_path)
    with pytest.raises(ValueError, match=r"must not have seen the test patients of fold0, got p3"):
        plan_evaluation(request)
    (result,) = run_evaluation(plan_evaluation(replace(request, allow_seen=True))).results
    assert result.seen


def test_gate_in_the_folder_of_another_fold_is_known_by_it(copied: Path, request_: EvaluationRequest) -> None:
    content = json.loads(copied.read_text())
    content["folds"].append({"name": "other", "train": ["p3", "p0"], "val": ["p1"], "test": ["p2"]})
    copied.write_text(json.dumps(content))
    folder = copied.parent / "5mm" / "model_data" / "t1c" / "other"
    folder.mkdir(parents=True)
    path = Path(shutil.copy(copied.parent / "gate.pt", folder / "model_epoch001_val0.5.pt"))
    with pytest.raises(ValueError, match="got p3"):
        plan_evaluation(replace(request_, manifest=copied, checkpoint=path))


def test_model_data_gives_the_best_gate_of_the_fold(study: Path, request_: EvaluationRequest) -> None:
    folder = study.parent / "trained" / "5mm" / "model_data" / "t1c" / "fold0"
    folder.mkdir(parents=True)
    for name in ("model_epoch001_val0.500000.pt", "model_epoch002_val0.400000.pt"):
        shutil.copy(study.parent / "gate.pt", folder / name)
    request = replace(request_, checkpoint=None, model_data=study.parent / "trained")
    (group,) = plan_evaluation(request).groups
    assert group.gate.path.name == "model_epoch002_val0.400000.pt"
    assert group.notes == ()
    with pytest.raises(FileNotFoundError, match="must hold a named checkpoint"):
        plan_evaluation(replace(request, model_data=study.parent / "nothing"))


def test_nothing_to_score_is_an_error(request_: EvaluationRequest) -> None:
    with pytest.raises(ValueError, match="must have rows with a truth at 7mm"):
        plan_evaluation(replace(request_, spacings=(Spacing.mm7,)))
    with pytest.raises(ValueError, match="fold must be one of"):
        plan_evaluation(replace(request_, folds=("fold9",)))


@pytest.mark.parametrize(
    ("template", "error"), [("{age}.nii", ValueError), ("{patient}.nii", FileNotFoundError)]
)
def test_labels_that_lead_nowhere_are_refused(
    request_: EvaluationRequest, template: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="--labels"):
        plan_evaluation(replace(request_, labels=template))


def test_control_row_is_a_gate_on_the_experts_it_knows(request_: EvaluationRequest, tmp_path: Path) -> None:
    import torch

    from revoxel.sagnef.gates import gate_protocol
    from revoxel.sagnef.network import SAGNEF

    architecture = {"in_ch": 6, "n_experts": 2, "wf": 8, "residual": True, "n_profile": 3}
    torch.manual_seed(0)
    protocol = gate_protocol(
        architecture=architecture,
        experts=["BSPLINE", "SMORE"],
        spacing="5mm",
        pulse="t1c",
        train_pulses=["t1c"],
        intensity={"mode": "range", "reference": "low", "percentiles": [0.5, 99.5]},
        window=(16, 16, 16),
    )
    path = save_checkpoint(tmp_path / "control.pt", {"model": SAGNEF(**architecture).state_dict()}, protocol)
    request = replace(request_, checkpoint=path, control=path, out=tmp_path / "out", labels=None)
    (result,) = run_evaluation(plan_evaluation(request)).results
    rows = result.regions["brain"].rows
    assert set(result.usage) == {"BSPLINE", "SMORE"}
    assert rows[FusionRow.CONTROL] == rows[FusionRow.RESIDUAL]
    assert rows[FusionRow.STRICT] != rows[FusionRow.RESIDUAL]


def test_misled_experts_make_superresolve_cautious(
    copied: Path, request_: EvaluationRequest, tmp_path: Path
) -> None:
    """SMORE's siblings say in their sidecars that ECLARE is over-sharpened."""
    (copied.parent / "p3_SR-ECLARE.json").write_text('{"excess_sharpness": 0.5}')
    request = replace(request_, manifest=copied, out=tmp_path / "out")
    (result,) = run_evaluation(plan_evaluation(request)).results
    assert result.decision.startswith("cautious weights; no consistency")
    rows = result.regions["brain"].rows
    assert rows[FusionRow.SUPERRESOLVE].rmse == pytest.approx(rows[FusionRow.CAUTIOUS].rmse, rel=1e-4)


def test_outputs_are_complete_and_replace_older_ones(
    request_: EvaluationRequest, evaluation: Evaluation
) -> None:
    plan = plan_evaluation(request_)
    failed = replace(evaluation, failures={"p9": "no <file>"})
    for given in (evaluation, failed):
        paths = save_evaluation(plan, given, "revoxel evaluate ...")
    assert set(paths) == {"csv", "json", "png", "html"}
    record = json.loads(paths["json"].read_text())
    assert record["command"] == "revoxel evaluate ..."
    assert record["folds"] == ["fold0"]
    assert len(record["manifest_sha256"]) == len(record["gates"]["fold0, 5mm t1c"]["sha256"]) == 64
    assert record["cases"][0]["regions"]["tumour"]["n_voxels"] == 1000
    assert record["claims"]["brain"]
    page = paths["html"].read_text()
    assert "no &lt;file&gt;" in page
    assert all(name in page for name in (*ROW_ORDER, "data:image/png;base64"))
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert [table.title for table in console_tables(plan, evaluation)] == [
        "5mm t1c, right, brain",
        "What fusion gives, brain",
    ]
