"""Ensembles in one checkpoint: the mean of their members, calibrated; refused where they do not belong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from asl_runs import NETWORKS, TINY, train_tiny
from revoxel.asl.learning.ensemble import save_ensemble
from revoxel.asl.learning.slice_bank import SliceBank, SliceRecipe
from revoxel.asl.learning.training import calibration_factors, start_from
from revoxel.asl.network.ensemble import MAPS, merged_runs
from revoxel.asl.network.models import (
    adopt_checkpoint,
    build_network,
    load_asl_model,
    model_protocol,
    weights_protocol,
)
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL
from revoxel.cli.main import app
from revoxel.core.bundle_checks import check_fit
from revoxel.core.bundles import bundles_root
from revoxel.core.checkpoints import load_checkpoint, save_weights

BANK = SliceBank(SliceRecipe(phantom=PhantomConfig(size=32)), 2, n_shows=0)
NAME, ARGUMENTS = "AmplitudeAwareSpatialASLNet", {"in_channels": 12, "features": [8, 16]}


def _member(path: Path, seed: int, arguments: dict[str, Any] = ARGUMENTS) -> Path:
    """A network whose heads are drawn at random."""
    torch.manual_seed(seed)
    network = build_network(NAME, arguments)
    with torch.no_grad():
        for parameter in network.heads.parameters():  # type: ignore[union-attr]
            parameter.normal_(0, 0.05)
    return save_weights(path, network.state_dict(), model_protocol(NAME, arguments, JOINT_PROTOCOL))


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    return [_member(tmp_path / f"{seed}.pt", seed) for seed in range(3)]


def test_mean_of_runs_and_variances_that_add_up() -> None:
    one, other = torch.rand(2, 3, 4, 5, 5).unbind(0)
    merged = merged_runs([one, other])
    torch.testing.assert_close(merged[:, :2], (one + other)[:, :2] / 2)
    scatter = (one - other)[:, :2] / 2
    expected = (one[:, 2:] ** 2 + other[:, 2:] ** 2) / 2 + scatter**2
    torch.testing.assert_close(merged[:, 2:] ** 2, expected)
    torch.testing.assert_close(merged_runs([other, one]), merged)
    torch.testing.assert_close(merged_runs([one]), one)


def test_an_ensemble_is_one_checkpoint_with_calibrated_intervals(members: list[Path], tmp_path: Path) -> None:
    joined = load_asl_model(save_ensemble(members, BANK, tmp_path / "joined.pt"))
    image = BANK[0]["image"][None]
    alone = [load_asl_model(path).network(image) for path in members]
    merged = merged_runs([torch.cat([maps[name] for name in MAPS], dim=1) for maps in alone])
    factors: torch.Tensor = joined.network.sd_factors.factors  # type: ignore[union-attr,assignment]
    found = joined.network(image)
    torch.testing.assert_close(found["cbf"], merged[:, :1])
    torch.testing.assert_close(found["att_sd"], merged[:, 3:] * factors[1])
    torch.testing.assert_close(calibration_factors(joined.network, BANK), torch.ones(2))
    assert (joined.name, joined.record["members"]) == (NAME, 3)


def test_members_of_another_form_are_refused_with_both_records(members: list[Path], tmp_path: Path) -> None:
    other = _member(tmp_path / "other.pt", 7, {"in_channels": 12, "features": [8, 8]})
    with pytest.raises(ValueError, match=r"other.pt must be of the form .*\[8, 8\].*\[8, 16\]"):
        save_ensemble([members[0], other], BANK, tmp_path / "joined.pt")
    assert not (tmp_path / "joined.pt").exists()


def test_training_goes_on_from_the_first_member(members: list[Path], tmp_path: Path) -> None:
    joined = save_ensemble(members, BANK, tmp_path / "joined.pt")
    network = build_network(NAME, ARGUMENTS)
    start_from(network, joined)
    expected = load_asl_model(members[0]).network.state_dict()
    assert all(torch.equal(values, expected[name]) for name, values in network.state_dict().items())


def test_one_network_and_an_ensemble_are_not_taken_for_each_other(
    members: list[Path], tmp_path: Path
) -> None:
    joined = save_ensemble(members, BANK, tmp_path / "joined.pt")
    three = weights_protocol(NAME, ARGUMENTS, JOINT_PROTOCOL, 3)
    load_checkpoint(joined, three)
    with pytest.raises(ValueError, match="members: wanted 3, got None"):
        load_checkpoint(members[0], three)
    stated = dict(load_checkpoint(joined).protocol, members=1)
    wrong = save_weights(tmp_path / "wrong.pt", load_asl_model(joined).network.state_dict(), stated)
    with pytest.raises(ValueError, match=f"weights must be those of {NAME}"):
        load_asl_model(wrong)
    with pytest.raises(ValueError, match="members must be >= 1, got 0"):
        build_network(NAME, ARGUMENTS, 0)


@pytest.mark.slow
def test_the_command_line_trains_members_joins_them_and_their_bundle_takes_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [f"--set={key}={value}" for key, value in TINY.items()]
    answer = CliRunner().invoke(app, ["asl", "train", "--members", "3", "-o", str(run), *settings])
    assert answer.exit_code == 0, answer.output
    assert answer.output.count("wrote") == 4
    states = [load_asl_model(run / f"member{number}").network.state_dict() for number in range(3)]
    name = "heads.cbf.0.weight"
    assert not torch.equal(states[0][name], states[1][name])
    bundle = tmp_path / "asl_cbf_att"
    shutil.copytree(bundles_root() / bundle.name, bundle)
    adopt_checkpoint(bundle.name, run, overwrite=True, root=tmp_path)
    check_fit(bundle)
    with pytest.raises(ValueError, match="members: wanted 3, got None"):
        adopt_checkpoint(bundle.name, run / "member0", overwrite=True, root=tmp_path)


@pytest.mark.slow
def test_members_of_every_class_can_be_joined(tmp_path: Path) -> None:
    for model in NETWORKS:
        path = train_tiny(tmp_path / model, model)
        joined = load_asl_model(save_ensemble([path, path], BANK, tmp_path / "joined.pt"))
        assert (joined.name, joined.record["members"]) == (model, 2)
