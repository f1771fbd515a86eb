"""Validation and inference: class and switches come from the checkpoint; options of the estimator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from asl_runs import NETWORKS, train_tiny
from revoxel.asl.evaluation.held_out import ScanRecipe, make_scans
from revoxel.asl.fitting.fit import fit_dictionary
from revoxel.asl.network.inference import InferenceOptions, NetworkEstimator
from revoxel.asl.network.models import AslModel, build_network, load_asl_model, model_protocol
from revoxel.asl.physics import AslPhysics
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL
from revoxel.cli.asl import app
from revoxel.core.checkpoints import save_checkpoint, save_weights

SCANS = make_scans(ScanRecipe(PhantomConfig(size=40), AslNoise(snr=10), n_phantoms=2))


def _saved(path: Path, model: str, **changes: object) -> Path:
    """An untrained network as a checkpoint, stirred so that it is not the fit."""
    torch.manual_seed(3)
    arguments = {**NETWORKS[model], **changes}
    network = build_network(model, arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return save_weights(path, network.state_dict(), model_protocol(model, arguments, JOINT_PROTOCOL))


def _fit_of(problem):  # type: ignore[no-untyped-def]
    return fit_dictionary(
        problem.dm, problem.protocol, problem.physics, sigma=problem.sigma, mask=problem.mask
    )


def _maps(models: list[AslModel], **options: object):  # type: ignore[no-untyped-def]
    estimator = NetworkEstimator(models, InferenceOptions(**options))  # type: ignore[arg-type]
    return SCANS.estimate({"network": estimator})["network"]


@pytest.mark.slow
@pytest.mark.parametrize("model", list(NETWORKS))
def test_one_command_trains_and_one_validates_every_class(model: str, tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", model)
    command = [
        "validate",
        str(tmp_path / "run"),
        "--snrs",
        "10",
        "--phantoms",
        "2",
        "-o",
        str(tmp_path / "m.json"),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "m.json").read_text())["10"]
    assert set(scores) >= {"fit", "network"}
    assert load_asl_model(tmp_path / "run").name == model
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, FileExistsError)


@pytest.mark.parametrize("model", list(NETWORKS))
def test_class_and_switches_come_from_the_checkpoint(model: str, tmp_path: Path) -> None:
    loaded = load_asl_model(_saved(tmp_path / "model.pt", model))
    assert type(loaded.network).__name__ == loaded.name == model
    assert loaded.record["arguments"] == NETWORKS[model]
    assert loaded.protocol == JOINT_PROTOCOL
    assert not loaded.network.training
    with pytest.raises(ValueError, match="something else"):
        load_asl_model(tmp_path / "model.pt", model="OtherNet")


@pytest.mark.parametrize(
    ("stated", "given"),
    [(one, other) for one in NETWORKS for other in NETWORKS if one != other],
)
def test_weights_of_another_class_are_refused_with_both_names(
    stated: str, given: str, tmp_path: Path
) -> None:
    network = build_network(given, NETWORKS[given])
    record = model_protocol(stated, NETWORKS[stated], JOINT_PROTOCOL)
    path = save_weights(tmp_path / "model.pt", network.state_dict(), record)
    with pytest.raises(ValueError, match=f"must be those of {stated}, got weights that look like {given}"):
        load_asl_model(path)


def test_other_switches_than_stated_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    record = model_protocol(
        "SpatialASLNet", {**NETWORKS["SpatialASLNet"], "features": [16, 32]}, JOINT_PROTOCOL
    )
    network = build_network("SpatialASLNet", NETWORKS["SpatialASLNet"])
    with pytest.raises(ValueError, match="switches"):
        load_asl_model(save_weights(tmp_path / "a.pt", network.state_dict(), record))
    with pytest.raises(ValueError, match="none of ours"):
        load_asl_model(save_weights(tmp_path / "b.pt", {"bias": torch.zeros(1)}, record))
    with pytest.raises(ValueError, match="protocol must say"):
        load_asl_model(save_checkpoint(tmp_path / "c.pt", {"model": {}}, {"system": "asl"}))


def test_an_ensemble_is_the_mean_and_its_scatter_widens_the_intervals(tmp_path: Path) -> None:
    one = load_asl_model(_saved(tmp_path / "1.pt", "SpatialASLNet"))
    other = load_asl_model(tmp_path / "1.pt")
    with torch.no_grad():
        for parameter in other.network.heads.parameters():  # type: ignore[union-attr]
            parameter.mul_(3)
    first, second, both = (_maps(models) for models in ([one], [other], [one, other]))
    np.testing.assert_allclose(both.cbf, (first.cbf + second.cbf) / 2, atol=1e-3)
    scatter = np.abs(first.cbf - second.cbf) / 2
    expected = np.sqrt((first.cbf_sd**2 + second.cbf_sd**2) / 2 + scatter**2)
    np.testing.assert_allclose(both.cbf_sd, expected, rtol=1e-3, atol=1e-3)


def test_windows_of_any_size_give_nearly_the_whole_slice(tmp_path: Path) -> None:
    model = load_asl_model(
        _saved(
            tmp_path / "1.pt", "AmplitudeAwareSpatialASLNet", residual_on_fit=True, amplitude="equivariant"
        )
    )
    whole, tiled, larger = (_maps([model], window=window) for window in (0, 32, 64))
    assert np.abs(larger.att - whole.att).max() < 20
    assert np.abs(tiled.att - whole.att).mean() < 5
    outside = ~SCANS.truth.mask
    assert not tiled.cbf[outside].any()


def test_flips_make_the_result_indifferent_to_mirroring(tmp_path: Path) -> None:
    model = load_asl_model(_saved(tmp_path / "1.pt", "SpatialASLNet"))
    estimator = NetworkEstimator([model], InferenceOptions(flips=True))
    problem = SCANS.problem()
    mirrored = replace(problem, dm=problem.dm[::-1].copy(), mask=problem.mask[::-1].copy())
    one, other = (estimator(each, _fit_of(each)) for each in (problem, mirrored))
    np.testing.assert_allclose(one.cbf, other.cbf[::-1], atol=0.2)


def test_dropout_samples_scatter_and_leave_the_network_as_it_was(tmp_path: Path) -> None:
    model = load_asl_model(_saved(tmp_path / "1.pt", "SpatialASLNet", dropout=0.5))
    plain, sampled = _maps([model]), _maps([model], dropout_samples=4)
    inside = SCANS.truth.mask
    assert sampled.cbf_sd[inside].mean() > plain.cbf_sd[inside].mean()
    assert not any(part.training for part in model.network.modules())
    without = load_asl_model(_saved(tmp_path / "2.pt", "SpatialASLNet"))
    with pytest.raises(ValueError, match="train it with dropout"):
        NetworkEstimator([without], InferenceOptions(dropout_samples=4))


def test_a_network_is_not_used_for_other_delays_unless_it_sees_the_fit_alone(tmp_path: Path) -> None:
    other = AslProtocol((700.0, 1400.0, 2100.0))
    scans = make_scans(ScanRecipe(PhantomConfig(size=32), protocol=other, n_phantoms=1))
    fixed = load_asl_model(_saved(tmp_path / "1.pt", "SpatialASLNet"))
    with pytest.raises(ValueError, match=r"PLD 500 ms.* got .*PLD 700 ms"):
        scans.estimate({"network": NetworkEstimator([fixed])})
    free = {"in_channels": 0, "features": [8, 16]}
    network = build_network("AmplitudeAwareSpatialASLNet", free)
    record = model_protocol("AmplitudeAwareSpatialASLNet", free, JOINT_PROTOCOL)
    model = load_asl_model(save_weights(tmp_path / "2.pt", network.state_dict(), record))
    maps = scans.estimate({"network": NetworkEstimator([model])})["network"]
    assert maps.att is not None
    assert np.isfinite(maps.att).all()


def test_unknown_noise_and_wrong_options_are_refused(tmp_path: Path) -> None:
    model = load_asl_model(_saved(tmp_path / "1.pt", "SpatialASLNet"))
    problem = replace(SCANS.problem(), sigma=None)
    with pytest.raises(ValueError, match="noise must be known"):
        NetworkEstimator([model])(problem, _fit_of(problem))
    with pytest.raises(ValueError, match="one network or more"):
        NetworkEstimator([])
    with pytest.raises(ValueError, match="window must be"):
        InferenceOptions(window=8)
    with pytest.raises(ValueError, match="batch_size"):
        InferenceOptions(batch_size=0)


def test_physics_of_the_checkpoint_are_kept(tmp_path: Path) -> None:
    network = build_network("VoxelASLNet", NETWORKS["VoxelASLNet"])
    record = model_protocol(
        "VoxelASLNet", NETWORKS["VoxelASLNet"], JOINT_PROTOCOL, AslPhysics(t1_blood_ms=1850.0)
    )
    assert (
        load_asl_model(save_weights(tmp_path / "1.pt", network.state_dict(), record)).physics.t1_blood_ms
        == 1850
    )
