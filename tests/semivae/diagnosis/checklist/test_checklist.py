"""Every item of the lists is right for a sound study, configuration and run, and wrong for its own fault."""

import csv
import json

import numpy as np
import pytest

from revoxel.core.training import default_sections, overlaid
from revoxel.semivae.diagnosis.checklist.configuration import check_configuration
from revoxel.semivae.diagnosis.checklist.items import some
from revoxel.semivae.diagnosis.checklist.run import AFTER_TRAINING, check_run
from revoxel.semivae.diagnosis.checklist.study import check_study
from revoxel.semivae.features.resampled import NetworkGrid
from revoxel.semivae.network.partition import RESIDUAL, LatentPartition, Part
from revoxel.semivae.study import read_study
from semivae_folds import write_folds
from tumours import write_label

PARTITION = LatentPartition((Part("vol", 2, ("wt.log_volume",)), Part(RESIDUAL, 3)))
GRID = NetworkGrid(6.0, 32)


def wrong(items):
    return [item.question for item in items if not item.passed]


def checked(path, grid=GRID):
    return wrong(check_study(read_study(path), grid, PARTITION, lambda _share: None, min_count=4))


def test_shipped_configuration_is_sound():
    assert wrong(check_configuration(default_sections("semivae_brats"))) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"network": {"partition": {"z_dim": 9, "parts": [{"name": "residual", "size": 8}]}}},
            "fill the latent",
        ),
        ({"loss": {"independence": {"start": 0.05, "length": 0.1, "target": 1.0}}}, "heads are trained"),
        ({"loss": {"beta": {"start": 0.8, "length": 0.5, "target": 1.0}}}, "within the training"),
        ({"loss": {"beta": {"shape": "square"}}}, "within the training"),
        ({"loss": {"free_bits": {"residual": 0.5}}}, "free bits"),
        ({"loss": {"free_bits": {"volume": 0.1}}}, "free bits"),
        ({"loss": {"total_correlation": {"start": 0.5, "target": 50.0}}}, "total correlation"),
    ],
)
def test_each_fault_of_a_configuration_is_found(change, words):
    (question,) = wrong(check_configuration(overlaid(default_sections("semivae_brats"), change)))
    assert words in question


def test_configuration_without_a_section_is_refused():
    with pytest.raises(ValueError, match="every key"):
        check_configuration({"network": {}})


@pytest.fixture(scope="module")
def study_file(tmp_path_factory):
    path = write_folds(tmp_path_factory.mktemp("study"), 5, 2)
    content = json.loads(path.read_text())
    content["folds"][0]["val"] = [content["folds"][0]["train"].pop()]
    path.write_text(json.dumps(content))
    return path


def test_sound_study_passes_and_nothing_is_written(study_file):
    before = sorted(study_file.parent.iterdir())
    assert checked(study_file) == []
    assert sorted(study_file.parent.iterdir()) == before


def altered(study_file, tmp_path, change):
    """Study file elsewhere with its paths made absolute, changed."""
    content = json.loads(study_file.read_text())
    for scan in content["scans"]:
        scan["label"] = str(study_file.parent / scan["label"])
        scan["images"] = {pulse: str(study_file.parent / name) for pulse, name in scan["images"].items()}
    change(content)
    path = tmp_path / "study.json"
    path.write_text(json.dumps(content))
    return path


def label_with(tmp_path, voxels, first=20):
    label, affine = np.zeros((40, 44, 36), np.uint8), np.diag((4.0, 4.0, 4.0, 1.0))
    affine[:3, 3] = -4 * (np.array(label.shape) - 1) / 2
    label[20, first, 18 : 18 + voxels] = 3
    return str(write_label(tmp_path / "odd.nii.gz", label, affine))


def test_each_fault_of_a_study_is_found(study_file, tmp_path):
    def lost(content):
        content["scans"][0]["images"]["t1c"] = "gone.nii.gz"

    def few(content):
        del content["scans"][0]["images"]["t1c"]

    def empty(content):
        content["scans"][0]["label"] = label_with(tmp_path, 0)

    def small(content):
        content["scans"][0]["label"] = label_with(tmp_path, 1)

    def outside(content):
        # The cube of 192 mm is wider than the scan of 176 mm: one of 32 voxels of 5 mm is not.
        content["scans"][0]["label"] = label_with(tmp_path, 8, first=43)

    def no_fold(content):
        content["folds"] = []

    def no_val(content):
        content["folds"][0]["val"] = []

    def few_train(content):
        content["folds"][0]["train"] = content["folds"][0]["train"][:2]

    for change, words in (
        (lost, "four pulses"),
        (few, "four pulses"),
        (empty, "holds a tumour"),
        (small, "100 mm^3"),
        (no_fold, "to watch"),
        (no_val, "to watch"),
        (few_train, "training scans"),
        (small, "shows in the network"),
        (outside, "shows in the network"),
    ):
        grid = NetworkGrid(5.0, 32) if change is outside else GRID
        questions = checked(altered(study_file, tmp_path, change), grid)
        assert any(words in question for question in questions), words


def good_figures():
    step = {">": 1e-3, ">=": 0.0, "<": -1e-3, "<=": 0.0}
    figures = {one.metric: one.limit + step[one.rule] for one in AFTER_TRAINING}
    return figures | {"dcor/z_vol_z_residual": 0.1, "semivae/corr_z_vol_z_residual": -0.1}


def write_run(folder, figures, losses=(2.0, 1.0)):
    (folder / "validation.json").write_text(json.dumps({"figures": figures}))
    with (folder / "training_log.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, ["epoch", "val_total"])
        rows.writeheader()
        rows.writerows({"epoch": epoch, "val_total": loss} for epoch, loss in enumerate(losses))
    return folder


def test_good_run_passes(tmp_path):
    assert wrong(check_run(write_run(tmp_path, good_figures()))) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"diag/au_count_residual": 0.0},
        {"sem/wt.log_volume_r2": None},
        {"semivae/corr_z_vol_z_residual": -0.78},
        {"dcor/z_vol_z_residual": 0.4},
        {"image/tumour_sharpness": 0.1},
        {"coverage/inside": 0.5},
    ],
)
def test_each_fault_of_a_run_is_found(tmp_path, fault):
    questions = wrong(check_run(write_run(tmp_path, good_figures() | fault)))
    assert len(questions) == 1
    assert questions[0].startswith(next(iter(fault)))


def test_loss_that_does_not_fall_is_found(tmp_path):
    assert wrong(check_run(write_run(tmp_path, good_figures(), (1.0, 2.0)))) == ["val_total fell"]
    assert wrong(check_run(write_run(tmp_path, good_figures(), (1.0,)))) == ["val_total fell"]


def test_unfinished_or_damaged_run_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="to its end"):
        check_run(tmp_path)
    (tmp_path / "validation.json").write_text("{}")
    with pytest.raises(ValueError, match="must hold figures"):
        check_run(tmp_path)


def test_many_names_are_cut():
    assert some(list("abcde")) == "a, b, c and 2 more"
