"""The named calls of the training configuration: clear stops, schedules, start at the global weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny_study
from revoxel.core.bundles import bundles_root
from revoxel.core.checkpoints import save_checkpoint
from revoxel.experts.names import Expert
from revoxel.sagnef import SAGNEF, training

BUNDLE = bundles_root() / "sagnef_5mm_t1c"


def _check(
    manifest: Path | None, *, root: Path = BUNDLE, fold: str = "fold0", experts: list[str] | None = None
) -> None:
    training.check_start(
        root,
        manifest,
        fold,
        experts=experts or list(Expert),
        spacing="5mm",
        splits={"train": ["t1c"], "val": ["t1c"]},
    )


def test_a_good_start_passes(tmp_path: Path) -> None:
    _check(tiny_study.write_study(tmp_path))


def test_wrong_root_manifest_fold_or_experts_stop_with_one_line(tmp_path: Path) -> None:
    manifest = tiny_study.write_study(tmp_path)
    with pytest.raises(SystemExit, match="--bundle_root bundles/NAME"):
        _check(manifest, root=tmp_path)
    with pytest.raises(SystemExit, match="--manifest"):
        _check(None)
    with pytest.raises(SystemExit, match="fold must be one of"):
        _check(manifest, fold="fold9")
    with pytest.raises(SystemExit, match="experts must hold"):
        _check(manifest, experts=["OTHER"])


@pytest.mark.parametrize(("kind", "last"), [("constant", 1.0), ("cosine", 0.01), ("step", 0.01)])
def test_schedule_ends_where_it_says(kind: str, last: float) -> None:
    optimizer = torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), 1.0)
    schedule = training.learning_rate_schedule(optimizer, kind, 20)
    for _ in range(20):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(last)


def test_unknown_schedule_is_refused() -> None:
    optimizer = torch.optim.Adam(torch.nn.Linear(1, 1).parameters(), 1.0)
    with pytest.raises(ValueError, match="constant, cosine or step"):
        training.learning_rate_schedule(optimizer, "linear", 5)


def test_gate_starts_at_the_weights_that_fit_the_training_volumes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    experts = torch.rand(4, 8, 8, 8)
    truth = 0.7 * experts[1:2] + 0.3 * experts[3:]
    volumes = [{"experts": experts, "high": truth, "mask": torch.ones(1, 8, 8, 8)}]
    gate = SAGNEF(in_ch=8, n_experts=4, wf=8, n_profile=3)
    training.start_from_simplex(gate, volumes, list(Expert), tmp_path)
    noted = json.loads((tmp_path / "simplex.json").read_text())
    assert noted == pytest.approx({"BSPLINE": 0, "ECLARE": 0.7, "SMORE": 0, "UNIRES": 0.3}, abs=1e-4)
    _, weights = gate(torch.rand(1, 8, 8, 8, 8))
    floor = 0.02 / 1.04
    assert weights.mean(dim=(0, 2, 3, 4)).tolist() == pytest.approx(
        [floor, 0.7 / 1.04, floor, 0.3 / 1.04], abs=1e-4
    )


def test_start_can_be_switched_off(tmp_path: Path) -> None:
    gate = SAGNEF(in_ch=4, n_experts=4, wf=8)
    before = gate.head.weight.clone()
    training.start_from_simplex(gate, [], list(Expert), tmp_path, enabled=False)
    assert torch.equal(before, gate.head.weight)


def test_outputs_lie_where_the_source_has_them() -> None:
    assert training.model_folder("out", "5mm", "t1c", "fold0") == "out/5mm/model_data/t1c/fold0"
    assert training.output_folder("out", "5mm") == "out/5mm/output_volumes"


def test_weights_for_something_else_stop_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="existing file"):
        training.load_weights(torch.nn.Linear(1, 1), tmp_path / "none.pt", {})


def test_training_may_start_from_a_gate_of_the_same_form_only(tmp_path: Path) -> None:
    architecture = {"in_ch": 4, "n_experts": 4, "wf": 8}
    source, network = SAGNEF(**architecture), SAGNEF(**architecture)
    path = save_checkpoint(
        tmp_path / "model_epoch001_val0.500000.pt",
        {"model": source.state_dict()},
        {"architecture": architecture, "experts": list(Expert), "pulse": "t2w"},
    )
    training.start_from_checkpoint(network, tmp_path, architecture, list(Expert))
    assert torch.equal(network.head.weight, source.head.weight)
    with pytest.raises(SystemExit, match="wf"):
        training.start_from_checkpoint(network, path, {**architecture, "wf": 16}, list(Expert))
