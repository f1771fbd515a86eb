"""The right gate is found, and only a fitting one is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import weighted_bundle
from revoxel.core.bundles import WEIGHTS, bundles_root
from revoxel.core.checkpoints import save_checkpoint
from revoxel.core.pulses import Pulse, Spacing
from revoxel.experts.names import Expert
from revoxel.sagnef import SAGNEF, gates
from revoxel.sagnef.bundle_network import SagnefBundleNet

ARCHITECTURE = {
    "in_ch": 8,
    "n_experts": 4,
    "wf": 8,
    "disagreement": True,
    "residual": True,
    "n_profile": 3,
    "modulation": False,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    protocol = gates.gate_protocol(
        architecture=ARCHITECTURE,
        experts=list(Expert),
        spacing="5mm",
        pulse="t1c",
        train_pulses=["t1c", "t1n"],
        intensity={"mode": "range", "percentiles": [0.5, 99.5]},
        window=(32, 32, 32),
    )
    return save_checkpoint(tmp_path / "model.pt", {"model": SAGNEF(**ARCHITECTURE).state_dict()}, protocol)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folder with one bundle of the checkpoint's architecture, without weights."""
    values = {key: ARCHITECTURE[key] for key in ("wf", "disagreement", "residual", "modulation")}
    folder = weighted_bundle.copy_bundle("sagnef_5mm_t1c", tmp_path / "bundles", **values)
    (folder / WEIGHTS).unlink()
    return folder.parent


def test_gate_comes_back_as_it_was_saved(checkpoint: Path) -> None:
    gate = gates.load_gate(checkpoint, pulse=Pulse.t1c, spacing=Spacing.mm5)
    assert gate.name == "sagnef_5mm_t1c"
    assert gate.experts == tuple(Expert)
    assert gate.window == 32
    assert not gate.network.training
    saved = torch.load(checkpoint, weights_only=True)["model"]
    assert all(torch.equal(saved[key], value) for key, value in gate.network.state_dict().items())


def test_gate_for_another_pulse_or_spacing_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="must be a gate for t2f, got one for t1c, t1n"):
        gates.load_gate(checkpoint, pulse=Pulse.t2f)
    with pytest.raises(ValueError, match="spacing: wanted '7mm', got '5mm'"):
        gates.load_gate(checkpoint, spacing=Spacing.mm7)


def test_weights_of_another_architecture_are_refused(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["protocol"]["architecture"]["wf"] = 16
    torch.save(content, checkpoint)
    with pytest.raises(ValueError, match="weights must fit"):
        gates.load_gate(checkpoint)


@pytest.mark.parametrize("architecture", [{"layers": 3}, {"in_ch": 2, "n_experts": 4}, None])
def test_protocol_with_arguments_of_another_network_is_refused_in_one_line(
    checkpoint: Path, architecture: dict[str, int] | None
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["protocol"]["architecture"] = architecture
    torch.save(content, checkpoint)
    with pytest.raises(ValueError, match=r"model\.pt: protocol must hold arguments of SAGNEF, got [^\n]*$"):
        gates.load_gate(checkpoint)


def test_adopted_weights_are_found_by_pulse_and_spacing(checkpoint: Path, root: Path) -> None:
    assert gates.find_gate(Pulse.t1c, Spacing.mm5, root) is None
    gates.adopt_checkpoint("sagnef_5mm_t1c", checkpoint, root=root)
    gate = gates.find_gate(Pulse.t1c, Spacing.mm5, root)
    assert gate is not None
    original = gates.load_gate(checkpoint).network.state_dict()
    assert all(torch.equal(original[key], value) for key, value in gate.network.state_dict().items())
    with pytest.raises(FileExistsError, match="--overwrite"):
        gates.adopt_checkpoint("sagnef_5mm_t1c", checkpoint, root=root)


def test_weights_are_adopted_by_their_own_bundle_only(checkpoint: Path, root: Path) -> None:
    (root / "sagnef_5mm_t1c").rename(root / "sagnef_5mm_t2f")
    with pytest.raises(
        ValueError, match="must be for sagnef_5mm_t2f, got one for sagnef_5mm_t1c, sagnef_5mm_t1n"
    ):
        gates.adopt_checkpoint("sagnef_5mm_t2f", checkpoint, root=root)
    with pytest.raises(FileNotFoundError, match="bundles list"):
        gates.adopt_checkpoint("sagnef_9mm_t1c", checkpoint, root=root)


def test_gate_serves_every_pulse_that_it_was_trained_on(checkpoint: Path, root: Path) -> None:
    assert gates.load_gate(checkpoint, pulse=Pulse.t1n).name == "sagnef_5mm_t1n"
    shutil.copytree(root / "sagnef_5mm_t1c", root / "sagnef_5mm_t1n")
    gates.adopt_checkpoint("sagnef_5mm_t1n", checkpoint, root=root)
    adopted = gates.find_gate(Pulse.t1n, Spacing.mm5, root)
    assert adopted is not None
    assert adopted.protocol["pulse"] == "t1n"


def test_weights_of_another_architecture_are_not_adopted(checkpoint: Path, root: Path) -> None:
    graph = root / "sagnef_5mm_t1c" / "configs" / "inference.json"
    weighted_bundle.replace_values(graph, wf=16)
    with pytest.raises(ValueError, match=r"architecture: wanted .*'wf': 16.* got .*'wf': 8"):
        gates.adopt_checkpoint("sagnef_5mm_t1c", checkpoint, root=root)
    assert not (root / "sagnef_5mm_t1c" / WEIGHTS).exists()


def test_global_weights_are_convex_for_every_pulse_and_spacing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for spacing in Spacing:
        for pulse in Pulse:
            weights = gates.simplex_weights(pulse, spacing)
            assert list(weights) == list(Expert)
            assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
            assert min(weights.values()) >= 0
    monkeypatch.setattr(gates, "SIMPLEX_WEIGHTS", tmp_path / "none.json")
    assert set(gates.simplex_weights(Pulse.t1c, Spacing.mm5).values()) == {0.25}


def test_every_shipped_gate_loads() -> None:
    for pulse in Pulse:
        for spacing in Spacing:
            gate = gates.find_gate(pulse, spacing, bundles_root())
            assert gate is None or gate.protocol["system"] == "sagnef"


@pytest.mark.parametrize("residual", [False, True])
def test_bundle_network_channels_add_up_to_the_fused_volume(residual: bool) -> None:
    torch.manual_seed(0)
    network = SagnefBundleNet(**{**ARCHITECTURE, "residual": residual}).eval()
    torch.nn.init.normal_(network.gate.head.weight)
    x = torch.rand(1, 8, 8, 12, 16)
    with torch.no_grad():
        out = network(x)
        fused, weights = network.gate(x)
    assert out.shape[1] == (6 if residual else 5)
    torch.testing.assert_close(out[:, :1], fused)
    torch.testing.assert_close(out[:, 1:5], weights)
    rebuilt = (out[:, 1:5] * x[:, -4:]).sum(dim=1) + out[:, 5:].sum(dim=1)
    torch.testing.assert_close(rebuilt, fused[:, 0])
