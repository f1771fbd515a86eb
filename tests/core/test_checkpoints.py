"""Checkpoints hold plain values, load safely, and are refused for another purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from revoxel.core.checkpoints import (
    best_checkpoint,
    fill_network,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)
from revoxel.core.pulses import Pulse

PROTOCOL = {"system": "sagnef", "pulse": Pulse.t1c, "window": (48, 48, 48)}


def test_checkpoint_round_trips_with_weights_only(tmp_path: Path) -> None:
    states = {
        "model": {"a": MetaTensor(torch.arange(3.0))},
        "loss": np.float64(0.5),
        "epoch": 3,
        "path": tmp_path,
    }
    path = save_checkpoint(tmp_path / "new" / "c.pt", states, PROTOCOL)
    plain = torch.load(path, weights_only=True)
    assert type(plain["model"]["a"]) is torch.Tensor
    checkpoint = load_checkpoint(path, PROTOCOL)
    assert checkpoint.states["loss"] == 0.5
    assert checkpoint.states["epoch"] == 3
    assert torch.equal(checkpoint.states["model"]["a"], torch.arange(3.0))


def test_weights_are_a_plain_state_dict_that_knows_what_it_is_for(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 1)
    path = save_weights(tmp_path / "new" / "model.pt", network.state_dict(), PROTOCOL)
    plain = torch.load(path, weights_only=True)
    assert list(plain) == ["weight", "bias"]
    torch.nn.Linear(2, 1).load_state_dict(plain)
    checkpoint = load_checkpoint(path, PROTOCOL)
    assert checkpoint.is_plain
    other = torch.nn.Linear(2, 1)
    fill_network(other, checkpoint)
    assert torch.equal(other.weight, network.weight)
    assert not load_checkpoint(save_checkpoint(tmp_path / "c.pt", {"model": {}}, PROTOCOL)).is_plain
    with pytest.raises(ValueError, match="got 't1c'"):
        load_checkpoint(path, {"pulse": "t2f"})


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "model.pt", torch.nn.Linear(2, 1).state_dict(), PROTOCOL)
    with pytest.raises(ValueError, match=r"model\.pt: weights must fit Linear, got others[^\n]*$"):
        fill_network(torch.nn.Linear(3, 1), load_checkpoint(path))


def test_checkpoint_for_something_else_names_both_values(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "c.pt", {"model": {}}, PROTOCOL)
    with pytest.raises(ValueError, match=r"pulse: wanted 't2f', got 't1c'"):
        load_checkpoint(path, {"pulse": "t2f"})


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 broken"])
def test_damaged_checkpoint_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.pt"):
        load_checkpoint(path)


def test_checkpoint_of_another_program_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(1)}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="format"):
        load_checkpoint(tmp_path / "c.pt")


def test_best_checkpoint_has_the_lowest_validation_loss(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train first"):
        best_checkpoint(tmp_path)
    for name in (
        "model_epoch001_val0.500000",
        "model_epoch010_val0.090000",
        "model_epoch011_val0.100000",
        "last",
    ):
        (tmp_path / f"{name}.pt").touch()
    assert best_checkpoint(tmp_path).name == "model_epoch010_val0.090000.pt"


def test_missing_checkpoint_teaches(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train one"):
        load_checkpoint(tmp_path / "c.pt")


def test_objects_are_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object"):
        save_checkpoint(tmp_path / "c.pt", {"model": object()}, {})
    assert list(tmp_path.iterdir()) == []
