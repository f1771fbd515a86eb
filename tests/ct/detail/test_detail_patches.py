"""Patches depend on seed and index alone, belong to their views, and come from the right patients."""

from pathlib import Path

import pytest
import torch

import ct_studies
from revoxel.core.checkpoints import save_weights
from revoxel.core.provenance import sha256_of
from revoxel.ct.detail.base_choice import chosen_base
from revoxel.ct.detail.bases import BackprojectionBase, OracleBase
from revoxel.ct.detail.evaluation import tiles
from revoxel.ct.detail.lifting import XrayScene
from revoxel.ct.detail.patches import DetailBank, DetailRecipe
from revoxel.ct.detail.two_view_base import build_two_view, two_view_protocol
from revoxel.ct.scans.study import load_study
from revoxel.ct.xray.geometry import XrayGeometry
from revoxel.ct.xray.projector import project_views

SCENE = XrayScene((ct_studies.SPACING_MM,) * 3, XrayGeometry(size=16))
LARGER = XrayScene(SCENE.spacing_mm, XrayGeometry(size=32))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load_study(ct_studies.write_study(tmp_path_factory.mktemp("detail")))


def bank(study, *, augment: bool = True, view_dropout: float = 0.0, scene: XrayScene = SCENE) -> DetailBank:
    recipe = DetailRecipe(size=16, view_dropout=view_dropout)
    return DetailBank(study, study.rows, recipe, scene, OracleBase(), 4, seed=3, augment=augment)


def test_item_is_a_truth_with_its_own_views_and_coarse_volume(study):
    item = bank(study)[5]
    truth, coarse = item["label"].split(1)
    hu = SCENE.window.restore(truth)[None]
    torch.testing.assert_close(item["views"][None], project_views(hu, SCENE.spacing_mm, SCENE.geometry))
    torch.testing.assert_close(item["image"], coarse)
    torch.testing.assert_close(coarse[None], OracleBase().coarse(item["views"], truth[None]))


def test_items_repeat_and_epochs_differ_only_in_training(study):
    for name in ("image", "views", "label"):
        torch.testing.assert_close(bank(study)[6][name], bank(study)[6][name])
    assert not torch.equal(bank(study)[2]["image"], bank(study)[6]["image"])
    watched = bank(study, augment=False)
    torch.testing.assert_close(watched[2]["image"], watched[6]["image"])


def test_views_are_left_out_in_training_alone(study):
    assert bank(study, view_dropout=1.0)[0]["views"].abs().max() == 0
    assert bank(study, view_dropout=1.0, augment=False)[0]["views"].abs().max() > 0


def test_other_voxel_size_small_volumes_and_no_rows_are_refused(study):
    with pytest.raises(ValueError, match="must have the voxel size of the scene, got 5 mm"):
        bank(study, scene=XrayScene((3.0, 3.0, 3.0)))
    with pytest.raises(ValueError, match="sides of 80 voxels at least"):
        DetailBank(study, study.rows, DetailRecipe(size=80), SCENE, OracleBase(), 4)
    with pytest.raises(ValueError, match="must have rows"):
        DetailBank(study, [], DetailRecipe(), SCENE, OracleBase(), 4)


def test_tiles_cover_the_volume():
    covered = torch.zeros(20, 16, 33)
    for place in tiles(covered.shape, 16):
        covered[place] += 1
        assert covered[place].shape == (16, 16, 16)
    assert covered.min() >= 1


def choice(**values):
    plain = {"kind": "oracle", "blur_voxels": 1.5, "error_hu": 20.0, "checkpoint": None, "sha256": None}
    return plain | values


def test_base_is_the_one_that_the_configuration_names(tmp_path: Path):
    oracle = chosen_base(choice(blur_voxels=2.0, error_hu=5.0), SCENE, 16)
    assert isinstance(oracle, OracleBase)
    assert (oracle.blur_voxels, oracle.error_hu) == (2.0, 5.0)
    assert isinstance(chosen_base(choice(kind="backprojection"), SCENE, 16), BackprojectionBase)
    for wrong, said in (
        ({"kind": "gan"}, "base.kind must be one of oracle, backprojection, two-view"),
        ({"kind": "two-view"}, "base.checkpoint must be given"),
        ({"kind": "two-view", "checkpoint": str(tmp_path / "no.pt")}, "must be an existing file"),
    ):
        with pytest.raises(SystemExit, match=said):
            chosen_base(choice(**wrong), SCENE, 16)


def test_two_view_base_of_another_hash_or_scene_is_refused(tmp_path: Path):
    arguments = {"lift_channels": 2, "width": 4}
    network = build_two_view(arguments, LARGER, 32)
    path = save_weights(tmp_path / "base.pt", network.state_dict(), two_view_protocol(arguments, LARGER, 32))
    named = choice(kind="two-view", checkpoint=str(path), sha256=sha256_of(path))
    base = chosen_base(named, LARGER, 32)
    assert base.weights_sha256 == sha256_of(path)
    views = torch.rand(1, 2, 1, 32, 32)
    assert base.coarse(views).shape == (1, 1, 32, 32, 32)
    assert not base.coarse(views).requires_grad
    with pytest.raises(SystemExit, match=r"weights of SHA-256 0+, got"):
        chosen_base(named | {"sha256": "0" * 64}, LARGER, 32)
    with pytest.raises(SystemExit, match="error: "):
        chosen_base(named, XrayScene((3.0, 3.0, 3.0), LARGER.geometry), 32)
