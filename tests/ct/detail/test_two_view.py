"""Two-view base: back-projection before training, frozen after it; its data, checkpoint and bundle."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, create_workflow

from revoxel.core.checkpoints import save_checkpoint
from revoxel.core.folds import Fold
from revoxel.core.provenance import sha256_of
from revoxel.ct.detail.bases import FrozenBase
from revoxel.ct.detail.lifting import XrayScene
from revoxel.ct.detail.two_view_base import (
    evaluate_bundle,
    evaluate_two_view,
    load_two_view_base,
    two_view_protocol,
)
from revoxel.ct.detail.two_view_data import ViewBank, ViewRecipe
from revoxel.ct.detail.two_view_network import TwoViewNetwork
from revoxel.ct.detail.two_view_steps import view_items
from revoxel.ct.scans.study import CtRow, CtStudy, load_study, save_study
from revoxel.ct.xray.geometry import XrayGeometry
from revoxel.ct.xray.projector import project_views

BUNDLE = Path(__file__).resolve().parents[3] / "bundles" / "ct_two_view_32"
SIZE, SPACING_MM = 32, 12.0
SCENE = XrayScene((SPACING_MM,) * 3, XrayGeometry("cone", size=64))
FOLDS = [Fold(name="without-p0", train=["p1", "p2"], val=[], test=["p0"])]
TINY = {"lift_channels": 2, "width": 4}


def chest(seed: int) -> np.ndarray:
    """Body with lungs and spine, another one per seed, HU."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, SIZE),) * 3, indexing="ij")
    hu = np.full((SIZE,) * 3, -1000.0, dtype=np.float32)
    hu[(x / rng.uniform(0.7, 0.9)) ** 2 + (y / rng.uniform(0.5, 0.65)) ** 2 < 1] = 40.0
    for side in (-1, 1):
        hu[((x - 0.4 * side) / 0.3) ** 2 + (y / 0.35) ** 2 + (z / rng.uniform(0.6, 0.9)) ** 2 < 1] = -850.0
    hu[(x / 0.1) ** 2 + ((y + 0.4) / 0.1) ** 2 < 1] = 700.0
    return hu


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    rows = []
    for seed in range(3):
        name = f"p{seed}"
        fine, coarse = Path(f"{name}.nii.gz"), Path(f"{name}_coarse.nii.gz")
        nibabel.save(nibabel.Nifti1Image(chest(seed), affine), folder / fine)
        nibabel.save(nibabel.Nifti1Image(chest(seed)[::4, ::4, ::4], affine), folder / coarse)
        sums = {"fine": sha256_of(folder / fine), "coarse": sha256_of(folder / coarse)}
        rows.append(
            CtRow(
                name=name,
                patient_id=name,
                fine=fine,
                coarse=coarse,
                spacing_mm=SPACING_MM,
                sha256=sums,
            )
        )
    return save_study(CtStudy(rows=rows, spacing_mm=SPACING_MM, folds=FOLDS), folder / "study.json")


def checkpoint(folder: Path, network: TwoViewNetwork) -> Path:
    protocol = two_view_protocol(TINY, SCENE, SIZE)
    return save_checkpoint(folder / "model.pt", {"model": network.state_dict()}, protocol)


@pytest.fixture
def views() -> torch.Tensor:
    hu = torch.from_numpy(chest(0))[None, None]
    return project_views(hu, SCENE.spacing_mm, SCENE.geometry)


def test_untrained_network_is_the_back_projection(views):
    network = TwoViewNetwork(SCENE, SIZE, **TINY)
    torch.testing.assert_close(network(views), network.smear.coarse(views))


def test_network_has_the_stated_size():
    assert sum(p.numel() for p in TwoViewNetwork(SCENE).parameters()) == pytest.approx(1.02e6, rel=0.01)


def test_every_weight_of_the_encoders_is_reached_once_the_head_is_not_zero(views):
    network = TwoViewNetwork(SCENE, SIZE, **TINY)
    torch.nn.init.normal_(network.fuse.final_conv.weight)
    network(views).square().mean().backward()
    silent = [
        name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()
    ]
    assert silent == []


@pytest.mark.parametrize("size", [24, 16])
def test_sides_that_the_network_cannot_halve_are_refused(size):
    with pytest.raises(ValueError, match="multiple of 16"):
        TwoViewNetwork(SCENE, size)


def test_loaded_base_is_frozen_and_says_which_weights_it_has(views, tmp_path):
    path = checkpoint(tmp_path, TwoViewNetwork(SCENE, SIZE, **TINY))
    base = load_two_view_base(path, SCENE, SIZE)
    assert isinstance(base, FrozenBase)
    assert base.weights_sha256 == sha256_of(path)
    assert not base.network.training
    assert not base.coarse(views.requires_grad_()).requires_grad
    assert base.coarse(views).min() >= 0


def test_another_scene_is_refused_with_both(tmp_path):
    path = checkpoint(tmp_path, TwoViewNetwork(SCENE, SIZE, **TINY))
    with pytest.raises(ValueError, match=r"12\.0.*6\.0"):
        load_two_view_base(path, XrayScene((6.0, 6.0, 6.0), SCENE.geometry))


def test_weights_of_another_class_are_refused(tmp_path):
    path = save_checkpoint(tmp_path / "m.pt", {"model": {}}, {"system": "ct", "model": "Other"})
    with pytest.raises(ValueError, match=r"TwoViewNetwork.*Other|Other.*TwoViewNetwork"):
        load_two_view_base(path)


def test_data_depend_on_seed_and_index_alone_and_fit_their_views(study):
    opened = load_study(study)
    first, again = (ViewBank(opened, opened.rows, ViewRecipe(), SCENE, 4, seed=3) for _ in range(2))
    one, two, other = first[1], again[1], first[5]
    torch.testing.assert_close(one["label"], two["label"])
    assert float((one["label"] - other["label"]).abs().mean()) > 1e-3
    hu = SCENE.window.restore(one["label"])[None]
    torch.testing.assert_close(
        project_views(hu, SCENE.spacing_mm, SCENE.geometry)[0], one["image"], rtol=1e-3, atol=1e-3
    )


def test_validation_data_are_the_rows_themselves(study):
    opened = load_study(study)
    bank = ViewBank(opened, opened.rows[1:2], ViewRecipe(), SCENE, 2, augment=False)
    truth = SCENE.window.normalise(torch.from_numpy(chest(1)))[None]
    torch.testing.assert_close(bank[3]["label"], truth)


def test_study_of_other_voxels_is_refused(study):
    opened = load_study(study)
    with pytest.raises(ValueError, match="voxel size"):
        ViewBank(opened, opened.rows, ViewRecipe(), XrayScene((6.0, 6.0, 6.0), SCENE.geometry), 2)
    with pytest.raises(ValueError, match="rows"):
        ViewBank(opened, [], ViewRecipe(), SCENE, 2)


def test_figures_rank_a_perfect_base_first_and_constant_last(tmp_path):
    base = load_two_view_base(checkpoint(tmp_path, TwoViewNetwork(SCENE, SIZE, **TINY)))
    hu = torch.from_numpy(chest(0))[None]
    scores = evaluate_two_view(base, hu)
    assert scores["back-projection"]["rmse_hu"] < scores["constant"]["rmse_hu"]
    assert scores["two-view"] == scores["back-projection"]
    assert scores["two-view"]["reprojection"] < scores["constant"]["reprojection"]


def run(config: str, run_id: str, **values) -> None:
    workflow = create_workflow(
        config_file=str(BUNDLE / "configs" / config),
        workflow_type="train" if config == "train.json" else "infer",
        bundle_root=str(BUNDLE),
        run_id=run_id,
        **values,
    )
    workflow.run()


@pytest.mark.slow
def test_bundle_trains_scores_and_infers(study, tmp_path):
    """A few steps on two bodies beat the back-projection on the third, and X-rays become a volume."""
    tiny = {"volumes_per_epoch": 8, "validation_volumes": 2, "epochs": 3, **TINY}
    run("train.json", "training", study=str(study), fold="without-p0", out_root=str(tmp_path), **tiny)
    weights = tmp_path / "ct_two_view_32"
    evaluate_bundle(weights, study, "without-p0", tmp_path / "metrics.json")
    scores = json.loads((tmp_path / "metrics.json").read_text())["p0"]
    assert (
        scores["two-view"]["rmse_hu"] < scores["back-projection"]["rmse_hu"] < scores["constant"]["rmse_hu"]
    )


def test_bundle_builds_one_network_for_training_and_inference():
    protocols = []
    for graph in ("train", "inference"):
        parser = ConfigParser(ConfigParser.load_config_file(BUNDLE / "configs" / f"{graph}.json"))
        protocols.append(parser.get_parsed_content("protocol"))
    assert protocols[0] == protocols[1]


def test_views_of_a_folder_are_found_by_name(tmp_path):
    for name in ("b_pa_drr.tiff", "b_lat_drr.tiff", "a_pa_drr.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [Path(item["image"]).name for item in view_items(tmp_path)] == ["a", "b"]
    assert view_items(None) == []
    with pytest.raises(SystemExit):
        view_items(tmp_path / "none")
