"""A network takes the fit's place where it suits the scan, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asl_scans import PLDS_MS, TinyScan, write_joint
from revoxel.asl.network.models import build_network, model_protocol
from revoxel.asl.physics import AslPhysics
from revoxel.asl.protocol import AslProtocol
from revoxel.asl.quantification.estimation import SliceTimes
from revoxel.asl.quantification.methods import Method, MethodChoice, choose
from revoxel.asl.quantification.planning import QuantifySettings, find_groups, plan_scan
from revoxel.asl.quantification.quantify import quantify_scan
from revoxel.core.checkpoints import save_checkpoint

JOINT = AslProtocol(PLDS_MS, 1800.0, PLDS_MS)
PCASL = AslProtocol(PLDS_MS, 1800.0)
NAME = "AmplitudeAwareSpatialASLNet"
ARGUMENTS = {"in_channels": 12, "features": [4, 8]}


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """Untrained network of the joint protocol: with a residual on the fit it starts as the fit."""
    path = tmp_path_factory.mktemp("network") / "model.pt"
    states = {"model": build_network(NAME, ARGUMENTS).state_dict()}
    return save_checkpoint(path, states, model_protocol(NAME, ARGUMENTS, JOINT))


def chosen(method: Method, model: Path, protocol=JOINT, times=(), **constants):
    choice = MethodChoice(method, (model,), "cpu")
    return choose(choice, protocol, AslPhysics(**constants), SliceTimes(2, times))


def test_the_fit_needs_no_network():
    assert choose(MethodChoice(), JOINT, AslPhysics(), SliceTimes()).estimator is None


def test_a_network_that_nothing_would_use_is_refused(network):
    with pytest.raises(ValueError, match="--model must come with --method network or auto"):
        MethodChoice(Method.FIT, (network,))


@pytest.mark.parametrize("method", [Method.NETWORK, Method.AUTO])
def test_a_network_that_suits_is_used(network, method):
    result = chosen(method, network)
    assert result.name == f"network ({NAME})"
    assert result.estimator is not None
    assert result.notes == ()


@pytest.mark.parametrize(("protocol", "times"), [(PCASL, ()), (JOINT, (0.0, 40.0))])
def test_a_network_of_other_delays_is_refused_or_replaced(network, protocol, times):
    with pytest.raises(ValueError, match=r"made for the delays of the scan, but .*model.pt .*--method fit"):
        chosen(Method.NETWORK, network, protocol, times)
    result = chosen(Method.AUTO, network, protocol, times)
    assert result.name == "fit"
    assert "model.pt is made for PCASL LD 1800 PLD 500 ms" in result.notes[0]


@pytest.mark.parametrize("method", [Method.NETWORK, Method.AUTO])
def test_a_network_that_was_named_must_be_there(tmp_path, method):
    with pytest.raises(FileNotFoundError, match=r"none.pt must be a trained network, .*--method fit"):
        chosen(method, tmp_path / "none.pt")


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """An empty folder of bundles."""
    monkeypatch.setattr("revoxel.asl.quantification.methods.bundles_root", lambda: tmp_path)
    return tmp_path


def test_without_shipped_weights_auto_takes_the_fit(shipped):
    assert "none is at hand" in choose(MethodChoice(Method.AUTO), JOINT, AslPhysics(), SliceTimes()).notes[0]
    with pytest.raises(FileNotFoundError, match="asl_cbf_att"):
        choose(MethodChoice(Method.NETWORK), JOINT, AslPhysics(), SliceTimes())


def test_the_shipped_network_for_any_delays_stands_in(shipped, network):
    any_delays = ARGUMENTS | {"in_channels": 0}
    for bundle in ("asl_cbf_att", "asl_cbf_att_any"):
        (shipped / bundle / "models").mkdir(parents=True)
    (shipped / "asl_cbf_att" / "models" / "model.pt").write_bytes(network.read_bytes())
    states = {"model": build_network(NAME, any_delays).state_dict()}
    path = shipped / "asl_cbf_att_any" / "models" / "model.pt"
    save_checkpoint(path, states, model_protocol(NAME, any_delays, JOINT))
    choice = MethodChoice(Method.AUTO, device="cpu")
    for protocol, bundle in ((JOINT, "asl_cbf_att"), (PCASL, "asl_cbf_att_any")):
        result = choose(choice, protocol, AslPhysics(), SliceTimes())
        assert [model.path.parts[-3] for model in result.estimator.models] == [bundle]


def test_a_single_delay_is_left_to_the_white_paper(network):
    assert chosen(Method.NETWORK, network, AslProtocol((1800.0,), 1800.0)).estimator is None


def test_constants_outside_the_training_are_doubted(network):
    (note,) = chosen(Method.NETWORK, network, t1_blood_ms=1350.0).notes
    assert "T1 of blood is 1350, outside the training of model.pt (1650)" in note


def test_a_scan_is_quantified_by_a_network_beside_the_fit(network, tmp_path):
    write_joint(tmp_path / "bids")
    settings = QuantifySettings(method=MethodChoice(Method.NETWORK, (network,), "cpu"))
    (group,) = find_groups([tmp_path / "bids"])
    result = quantify_scan(plan_scan(group, tmp_path / "out", settings), settings)
    assert result.record["method"] == f"network ({NAME})"
    assert result.record["inputs"]["network 1"] == str(network)
    estimate = result.item["estimate"]
    assert estimate.maps is not estimate.fit
    assert np.isfinite(estimate.maps.cbf).all()
    agreement = result.record["agreement_with_fit"]["cbf_ml_100g_min"]
    inside = result.item["mask"].numpy()[0] > 0
    difference = (estimate.maps.cbf - estimate.fit.cbf)[inside].mean()
    assert agreement["mean_difference"] == pytest.approx(difference, rel=1e-4)
    assert "Agreement with the fit" in result.paths.page.read_text()
    assert plan_scan(group, tmp_path / "out", settings).why == ""
    with pytest.raises(FileExistsError, match="input changed: network 1"):
        plan_scan(group, tmp_path / "out", QuantifySettings())


def test_slices_in_turn_keep_a_network_of_fixed_delays_away(network, tmp_path):
    TinyScan(slice_times_ms=(0, 30, 60, 90)).write(tmp_path / "bids")
    settings = QuantifySettings(method=MethodChoice(Method.AUTO, (network,), "cpu"))
    (group,) = find_groups([tmp_path / "bids"])
    record = quantify_scan(plan_scan(group, tmp_path / "out", settings), settings).record
    assert record["method"] == "fit"
    assert any("so the fit is used" in text and "differ by slice" in text for text in record["warnings"])
