import json

import nibabel
import numpy as np
import pytest

import ct_studies
from revoxel.ct.evaluation.gains import gains_over_best
from revoxel.ct.evaluation.outputs import EvaluationPaths, metrics_text, save_evaluation
from revoxel.ct.evaluation.planning import plan_evaluation, refuse_seen_patients
from revoxel.ct.evaluation.run import UnsharpBook, by_patient, evaluate_rows
from revoxel.ct.evaluation.scores import KEYS
from revoxel.ct.evaluation.upsampling import (
    BASELINES,
    NETWORK,
    NETWORK_PROJECTED,
    PROJECTED,
    TRILINEAR,
    UpsamplingTable,
)
from revoxel.ct.refinement.steps import trilinear
from revoxel.ct.scans.study import load_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Study of two chests."""
    return ct_studies.write_study(tmp_path_factory.mktemp("set"))


def half_way_to_the_truth(study):
    """A network that knows the answers."""
    truths = {row.coarse.name: ct_studies.chest(seed) for seed, row in enumerate(load_study(study).rows)}

    def network(coarse_hu, progress):
        progress(1.0)
        plain = trilinear(coarse_hu, 4)
        (truth,) = (t for t in truths.values() if np.abs(ct_studies.coarse_of(t) - coarse_hu).max() < 1)
        return (0.5 * (plain + truth)).astype(np.float32)

    return network


@pytest.fixture(scope="module")
def saved(study, tmp_path_factory):
    """Results of an evaluation with a network."""
    plan = plan_evaluation(study, None, None)
    paths = EvaluationPaths(tmp_path_factory.mktemp("out"))
    scans = evaluate_rows(plan.study, plan.rows, UpsamplingTable(half_way_to_the_truth(study)))
    scored = save_evaluation(paths, scans, {"baselines": BASELINES}, volumes=True)
    return paths, scored


def test_metrics_are_by_patient_row_and_key(saved):
    metrics = json.loads(saved[0].metrics.read_text())
    assert list(metrics) == ["p1", "p2"]
    for rows in metrics.values():
        assert tuple(rows) == (*BASELINES, NETWORK, NETWORK_PROJECTED)
        assert all(tuple(keys) == KEYS for keys in rows.values())


def test_projection_is_consistent_and_better_than_interpolation(saved):
    for rows in by_patient(saved[1]).values():
        assert rows[PROJECTED]["consistency_max_hu"] <= 0.5 < rows[TRILINEAR]["consistency_max_hu"]
        assert rows[PROJECTED]["rmse_hu"] < rows[TRILINEAR]["rmse_hu"] < rows["constant"]["rmse_hu"]


def test_gain_is_over_the_best_baseline_of_the_same_patients(saved):
    paths, scored = saved
    record = json.loads(paths.record.read_text())
    scores = by_patient(scored)
    gains = gains_over_best(scores, NETWORK_PROJECTED, BASELINES)
    assert gains.baseline != "constant"
    reached = {name: np.mean([rows[name]["psnr_2048_db"] for rows in scores.values()]) for name in BASELINES}
    assert gains.baseline == max(reached, key=reached.get)
    assert record["gain"]["mean_db"] == pytest.approx(gains.mean_db)
    assert gains.worst_db > 1
    assert "best baseline" in paths.text.read_text()


def test_text_names_every_peak_and_window(saved):
    text = metrics_text(by_patient(saved[1]), None)
    for words in ("peak 2500 HU", "peak 4095 HU", "peak 2048 HU", "window -200..200 HU", "field of view"):
        assert words in text


def test_volumes_of_every_patient_lie_on_their_grids(saved, study):
    folder = saved[0].patient(1)
    names = {path.name for path in folder.iterdir()}
    assert {"coarse.nii.gz", "refined.nii.gz", "ground_truth.nii.gz", "patient_001_comparison.png"} <= names
    truth = nibabel.load(folder / "ground_truth.nii.gz")
    np.testing.assert_array_equal(np.asarray(truth.dataobj), ct_studies.chest(1))
    np.testing.assert_allclose(nibabel.load(folder / "refined.nii.gz").affine, truth.affine)
    assert (folder / "patient_001_comparison.png").read_bytes().startswith(b"\x89PNG")


def test_unsharp_masking_is_fixed_on_other_patients(study, saved):
    book = UnsharpBook(load_study(study), UpsamplingTable())
    assert "p2" in book.without("p1").source
    assert "p1" not in book.without("p1").source
    assert saved[1][0].sharpening == book.without("p1")


def test_only_the_tested_patients_of_a_fold_are_taken(study):
    assert [row.patient_id for row in plan_evaluation(study, "without-p2", None).rows] == ["p2"]
    assert [row.patient_id for row in plan_evaluation(study, None, 1).rows] == ["p1"]


def test_patients_of_the_training_are_refused_or_marked(study):
    plan = plan_evaluation(study, None, None)
    by_name = {"training": {"patients": ["p1"]}}
    with pytest.raises(ValueError, match="got p1"):
        refuse_seen_patients(plan, by_name, allow=False)
    assert refuse_seen_patients(plan, by_name, allow=True).seen == ("p1",)
    renamed = {"training": {"patients": ["someone"], "sha256": [plan.rows[1].sha256["fine"]]}}
    with pytest.raises(ValueError, match="got p2"):
        refuse_seen_patients(plan, renamed, allow=False)
    assert not refuse_seen_patients(plan, {"training": {"patients": ["p3"]}}, allow=False).seen


def test_a_changed_file_is_refused(tmp_path):
    study = ct_studies.write_study(tmp_path, ("p1",))
    (tmp_path / "fine" / "p1.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"p1\.fine: no such file"):
        plan_evaluation(study, None, None)


def test_earlier_results_are_kept(saved):
    with pytest.raises(FileExistsError, match="--overwrite"):
        saved[0].refuse_existing()
