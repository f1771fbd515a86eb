"""A server trains on its own scans with the bundle's own graph."""

import numpy as np
import pytest

from conftest import synthetic_brain
from revoxel.core.geometry import Grid
from revoxel.core.manifest import load_manifest
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import Volume, read_volume, write_volume
from revoxel.label.jobs import Job, superresolve_scan
from revoxel.label.models import models_with_weights
from revoxel.label.refusals import RefusedError
from revoxel.label.sample import PIECES, write_sample
from revoxel.label.training import Pair, fitting_pairs, prepare_run, run_training, runs_of
from revoxel.label.wishes import InferWishes, TrainWishes

MODELS = models_with_weights()
MODEL = MODELS["sagnef_5mm_t1n"]


@pytest.fixture
def pairs(scan):
    brain = Volume(synthetic_brain((64, 64, 60)), Grid((64, 64, 60), np.eye(4)))
    paths = write_sample(scan.parent, (48, 48, 50), template=brain)
    labels = scan.parent / "labels" / "final"
    return [
        Pair(path.resolve(), labels / path.name)
        for piece, path in zip(PIECES, paths, strict=True)
        if piece.with_truth and path.resolve() != scan
    ]


@pytest.fixture
def scan(tmp_path):
    """The sample has a `sub-01` of its own."""
    folder = tmp_path / "study"
    folder.mkdir()
    return folder / "none.nii.gz"


def test_patient_is_read_from_the_name(tmp_path):
    truth = tmp_path / "x.nii.gz"
    assert Pair(tmp_path / "BraTS-GLI-00001-000-t1c.nii.gz", truth).patient == "00001"
    assert Pair(tmp_path / "case7_t1c.nii.gz", truth).patient == "case7"


def test_pairs_of_other_kinds_are_left_out(pairs):
    assert fitting_pairs(pairs, MODEL) == pairs
    with pytest.raises(RefusedError, match=r"5mm t2w scans of 2 patients .*, got 0") as error:
        fitting_pairs(pairs, MODELS["sagnef_5mm_t2w"])
    assert error.value.status == 422


def test_one_patient_is_too_few(pairs):
    with pytest.raises(RefusedError, match="got 1"):
        fitting_pairs(pairs[:1], MODEL)


def test_files_that_are_no_scans_are_left_out(pairs, tmp_path):
    broken = tmp_path / "broken_T1w.nii.gz"
    broken.write_text("no image")
    assert fitting_pairs([*pairs, Pair(broken, broken)], MODEL) == pairs


def test_same_request_goes_on_and_another_begins_anew(pairs, cache):
    run = prepare_run(pairs, MODEL, TrainWishes(), cache)
    assert prepare_run(pairs, MODEL, TrainWishes(max_epochs=99), cache) == run
    assert prepare_run(pairs, MODEL, TrainWishes(seed=1), cache) != run
    assert prepare_run(pairs, MODEL, TrainWishes(learning_rate=1e-3), cache) != run
    assert len(runs_of(cache.work, Spacing.mm5, Pulse.t1n)) == 3


def test_manifest_holds_the_pairs_and_splits_patients(pairs, cache):
    study = load_manifest(prepare_run(pairs, MODEL, TrainWishes(), cache).manifest)
    assert [case.subject for case in study.cases] == ["sub-01", "sub-02"]
    assert not set(study.folds[0].train) & set(study.folds[0].val)
    assert not study.missing_files(study.cases)


def test_segmentation_painted_on_the_scan_is_no_truth(pairs, cache, caplog):
    low = read_volume(pairs[0].scan)
    write_volume(pairs[0].truth, (low.data > low.data.mean()) * 1, low.grid, overwrite=True)
    with pytest.raises(RefusedError, match="usable scans of 2 patients"):
        prepare_run(pairs, MODEL, TrainWishes(), cache)
    assert "hr: must share its voxels" in caplog.text


def test_run_that_has_not_begun_has_no_epochs(pairs, cache):
    stats = prepare_run(pairs, MODEL, TrainWishes(max_epochs=7), cache).stats()
    assert (stats["epoch"], stats["total_epochs"], stats["n_cases"]) == (0, 7, 2)
    assert "total_time" not in stats


@pytest.mark.slow
def test_training_runs_goes_on_and_its_gate_can_be_used(pairs, cache, tmp_path):
    run = prepare_run(pairs, MODEL, TrainWishes(max_epochs=1), cache)
    first = run_training(run, MODEL, TrainWishes(max_epochs=1))
    assert (first["epoch"], first["total_epochs"]) == (1, 1)
    assert first["total_time"]
    second = run_training(
        prepare_run(pairs, MODEL, TrainWishes(max_epochs=2), cache), MODEL, TrainWishes(max_epochs=2)
    )
    assert second["epoch"] == 2
    job = Job(pairs[0].scan, MODEL.name, InferWishes(trained=True, device="cpu"), tmp_path / "out")
    assert superresolve_scan(job, cache, MODELS).record["gate"] == MODEL.name
