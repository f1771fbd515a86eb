"""Training: the bank of slices, the budget, the engine, pretraining, tuning, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asl_runs import train_tiny
from revoxel.asl.learning.finetuning import tune_on_signals
from revoxel.asl.learning.pretraining import pretrain_denoise
from revoxel.asl.learning.slice_bank import SliceBank, SliceRecipe, random_protocol
from revoxel.asl.learning.training import calibration_factors, check_images, image_items
from revoxel.asl.network.channels import FIT_PLANES, AslChannels, LabelMap, Plane, split_targets
from revoxel.asl.network.inputs import SliceData, estimated_sigma, network_input
from revoxel.asl.network.models import load_asl_model
from revoxel.asl.network.networks import AmplitudeAwareSpatialASLNet
from revoxel.asl.network.voxel_network import VoxelASLNet
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL
from revoxel.core.checkpoints import load_checkpoint
from revoxel.core.handlers import read_epoch_log

SMALL = SliceRecipe(phantom=PhantomConfig(size=32))


def test_items_of_a_bank_depend_on_seed_and_place_alone() -> None:
    one, two = (SliceBank(SMALL, 3, seed=4, n_shows=2) for _ in range(2))
    for index in (7, 1, 4):
        one[index]
    assert torch.equal(one[5]["image"], two[5]["image"])
    other = SliceBank(SMALL, 3, seed=5, n_shows=2)[5]
    assert not torch.equal(one[5]["image"], other["image"])


def test_a_slice_is_shown_a_few_times_and_then_replaced() -> None:
    bank = SliceBank(SMALL, 2, n_shows=3)

    def brightness(epoch: int) -> float:
        """Sum of a slice, which turns and mirrors do not change."""
        return round(float(bank[2 * epoch]["label"][0].double().sum()), 1)

    shown = [brightness(epoch) for epoch in range(6)]
    assert shown[0] == shown[1] == shown[2] != shown[3] == shown[4] == shown[5]


def test_validation_slices_stay_as_they_are() -> None:
    bank = SliceBank(SMALL, 2, n_shows=0)
    assert torch.equal(bank[0]["image"], bank[4]["image"])


def test_wrong_banks_and_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="n_slices must be"):
        SliceBank(SMALL, 0)
    with pytest.raises(ValueError, match="snr_range must be"):
        SliceRecipe(snr_range=(5.0, 3.0))


@pytest.mark.parametrize(
    "recipe",
    [
        SliceRecipe(phantom=PhantomConfig(size=32), noise_known=False),
        SliceRecipe(phantom=PhantomConfig(size=32), variation="default"),
        SliceRecipe(phantom=PhantomConfig(size=32), variation={"t1_blood_ms": (1850.0, 1850.0)}),
        SliceRecipe(phantom=PhantomConfig(size=32), random_protocols=True),
    ],
    ids=["noise estimated", "constants drawn", "constants stated", "any delays"],
)
def test_every_recipe_gives_finite_input_with_the_fit_near_the_truth(recipe: SliceRecipe) -> None:
    item = SliceBank(recipe, 1, seed=3)._new(0, 0)
    channels = AslChannels(0 if recipe.random_protocols else 12)
    _, planes = channels.split(item["image"][None])
    truth, _ = split_targets(item["label"][None])
    assert bool(item["image"].isfinite().all())
    inside = truth[LabelMap.mask] > 0
    error = (planes[Plane.fit_cbf] - truth[LabelMap.cbf])[inside].abs()
    assert float((error < 4 * planes[Plane.fit_cbf_sd][inside]).float().mean()) > 0.9
    assert float(planes[Plane.scale].min()) > 0


def test_the_network_is_told_constants_where_they_are_known() -> None:
    drawn = {"variation": {"t1_blood_ms": (1850.0, 1850.0)}, "phantom": PhantomConfig(size=32)}
    for known, expected in ((True, 1850.0), (False, 1650.0)):
        recipe = SliceRecipe(**drawn, physics_known=known)  # type: ignore[arg-type]
        _, planes = AslChannels(12).split(SliceBank(recipe, 1)[0]["image"][None])
        assert planes[Plane.t1_blood_ms].unique().tolist() == [expected]


def test_estimated_noise_is_near_the_true_noise() -> None:
    scan, protocol = SMALL.draw(np.random.default_rng(0))
    data = SliceData(torch.from_numpy(scan.dm.copy())[None], torch.from_numpy(scan.phantom.mask)[None])
    assert float(estimated_sigma(data, protocol)[0]) == pytest.approx(scan.sigma, rel=0.1)
    few = SliceData(data.dm[:, :2], data.mask)
    with pytest.raises(ValueError, match="three delays"):
        estimated_sigma(few, random_protocol(np.random.default_rng(0)).__class__((500.0, 1500.0)))


def test_scale_is_that_of_the_whole_slice() -> None:
    scan, protocol = SMALL.draw(np.random.default_rng(0))
    dm, mask = torch.from_numpy(scan.dm.copy())[None], torch.from_numpy(scan.phantom.mask)[None]
    image = network_input(SliceData(dm, mask, torch.tensor([scan.sigma])), protocol)
    _, planes = AslChannels(12).split(image)
    expected = dm.movedim(1, -1)[mask].square().mean().sqrt()
    torch.testing.assert_close(planes[Plane.scale][0, 0, 0, 0], expected)
    assert set(FIT_PLANES) <= set(planes)


def test_pretraining_changes_the_trunk_and_leaves_the_heads() -> None:
    torch.manual_seed(0)
    network = AmplitudeAwareSpatialASLNet(12, (8, 16))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert pretrain_denoise(network, SMALL, 0.0) == 0
    assert pretrain_denoise(network, SMALL, 0.05) > 0
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("trunk.") for name in changed)
    with pytest.raises(ValueError, match="needs a U-Net"):
        pretrain_denoise(VoxelASLNet(12), SMALL, 1.0)


def test_factors_make_intervals_of_a_known_spread_right() -> None:
    class Constant(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            _, planes = AslChannels(12).split(image)
            return {
                "cbf": planes[Plane.fit_cbf],
                "att": planes[Plane.fit_att],
                "cbf_sd": planes[Plane.fit_cbf_sd] / 3,
                "att_sd": planes[Plane.fit_att_sd] / 2,
            }

    recipe = SliceRecipe(noise=AslNoise(), snr_range=(10.0, 10.0), protocol=JOINT_PROTOCOL)
    factors = calibration_factors(Constant(), SliceBank(recipe, 4, n_shows=0))
    assert factors.tolist() == pytest.approx([3.0, 2.0], rel=0.1)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--dataset_dir FOLDER"):
        check_images(tmp_path)
    (tmp_path / "one.nii.gz").touch()
    check_images(tmp_path)
    assert image_items(None) == []


@pytest.mark.slow
def test_training_writes_a_calibrated_network_goes_on_and_can_be_tuned(tmp_path: Path) -> None:
    path = train_tiny(tmp_path / "run")
    assert [row["epoch"] for row in read_epoch_log(tmp_path / "run" / "training_log.csv")] == ["1", "2"]
    model = load_asl_model(path)
    assert model.network.sd_factors.factors.tolist() != [1.0, 1.0]
    assert load_checkpoint(path).is_plain
    train_tiny(tmp_path / "run")
    assert len(read_epoch_log(tmp_path / "run" / "training_log.csv")) == 2
    with pytest.raises(SystemExit, match="batch_size: began with 2, got 4"):
        train_tiny(tmp_path / "run", batch_size=4)
    tuned = tune_on_signals(
        path, tmp_path / "tuned.pt", {"subjects": 1, "slices": 2, "share": 0.2, "t1_blood_ms": 1850.0}, 0.1
    )
    before, after = (load_asl_model(one).network.state_dict() for one in (path, tuned))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any(".encoder." in name for name in changed)


@pytest.mark.slow
def test_one_minute_of_training_beats_the_fit(tmp_path: Path) -> None:
    """The smoke of the specification on a third of its budget: the loss falls, the fit is beaten."""
    from revoxel.asl.evaluation.held_out import ScanRecipe
    from revoxel.asl.evaluation.validation import ValidationSettings, validate

    values: dict[str, Any] = {
        "slices_per_epoch": 64,
        "validation_slices": 8,
        "phantom_size": 64,
        "batch_size": 8,
    }
    train_tiny(tmp_path / "run", **values, epochs=100_000, budget_s=20.0)
    losses = [float(row["train_total"]) for row in read_epoch_log(tmp_path / "run" / "training_log.csv")]
    assert losses[-1] < losses[0]
    scores = validate([tmp_path / "run"], ValidationSettings((10.0,), ScanRecipe(n_phantoms=6)))["10"]
    for name in ("cbf_mae", "att_mae"):
        assert scores["network"][name] < scores["fit"][name]
