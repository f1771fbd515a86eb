"""The demo scores every method on the truth's grid; its training set is a valid study."""

from __future__ import annotations

import json

import numpy as np
import pytest

from quick_experts import quick_experts
from revoxel.core.geometry import Grid
from revoxel.core.manifest import load_manifest
from revoxel.core.volumes import Volume
from revoxel.experts.bspline import bspline
from revoxel.experts.learned import LearnedResult
from revoxel.experts.names import Expert
from revoxel.sagnef.demo import crop, run_demo, template_brain
from revoxel.sagnef.demo_dataset import DatasetSettings, write_dataset
from revoxel.sagnef.planning import FusionKind, SuperresolveSettings


@pytest.fixture
def truth(brain, brain_affine) -> Volume:
    return Volume(np.array(brain), Grid(brain.shape, brain_affine))


@pytest.fixture
def no_training(monkeypatch) -> None:
    """The learned experts answer with B-splines."""
    monkeypatch.setattr(
        "revoxel.sagnef.demo_dataset.super_resolve_learned",
        lambda problem, *args, **options: LearnedResult(bspline(problem), 0.0),
    )


def test_demo_writes_metrics_of_every_method_and_a_picture(truth, tmp_path) -> None:
    settings = SuperresolveSettings(fusion=FusionKind.MEAN, device="cpu")
    result = run_demo(tmp_path, settings, truth=truth, run=quick_experts)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics) == ["bspline", "unires", "smore", "eclare", "mean", "fused"]
    assert all(set(row) == {"psnr_db", "ssim", "rmse"} for row in metrics.values())
    assert all(10 < row["psnr_db"] < 60 for row in metrics.values())
    assert result.figure.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "mni152_gauss_t1n_sagnef.nii.gz").is_file()
    assert (tmp_path / "mni152_rect_t1n_sagnef.nii.gz").is_file()


def test_demo_keeps_earlier_results(truth, tmp_path) -> None:
    (tmp_path / "mni152_truth.nii.gz").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        run_demo(tmp_path, SuperresolveSettings(), truth=truth, run=quick_experts)


def test_packaged_brain_is_skull_stripped_and_1_mm() -> None:
    template = template_brain()
    assert template.grid.spacing_mm == pytest.approx((1, 1, 1))
    assert (template.data == 0).mean() > 0.3
    assert template.data[0].max() == 0


def test_crop_keeps_the_place_in_the_world(truth) -> None:
    piece = crop(truth, np.array([3, 4, 5]), np.array([10, 11, 12]))
    assert piece.grid.shape == (7, 7, 7)
    np.testing.assert_allclose(piece.grid.world([0, 0, 0]), truth.grid.world([3, 4, 5]))
    assert piece.data[0, 0, 0] == truth.data[3, 4, 5]


def test_training_set_is_a_complete_study(truth, tmp_path, no_training) -> None:
    settings = DatasetSettings(n_patients=3, shape=(24, 24, 20))
    manifest = load_manifest(write_dataset(tmp_path, settings, template=truth))
    assert [fold.name for fold in manifest.folds] == ["fold0", "fold1", "fold2"]
    assert manifest.experts == list(Expert)
    assert manifest.missing_files(manifest.cases) == []
    assert len({case.patient for case in manifest.cases}) == 3


def test_training_set_is_kept_unless_overwritten(truth, tmp_path, no_training) -> None:
    (tmp_path / "kfolds_manifest.json").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_dataset(tmp_path, DatasetSettings(), template=truth)
