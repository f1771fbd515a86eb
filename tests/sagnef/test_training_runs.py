"""Training for real, on tiny volumes: killed and continued, spread over processes, and what comes out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import load, run

import tiny_study
from revoxel.core.bundles import bundles_root
from revoxel.core.checkpoints import load_checkpoint
from revoxel.core.handlers import read_epoch_log
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.gates import adopt_checkpoint, load_gate
from revoxel.sagnef.training import model_folder

pytestmark = pytest.mark.slow

NAME = "sagnef_5mm_t1c"
BUNDLE = bundles_root() / NAME
EPOCHS = 3
SIDE = 35  # a multiple of the separation: every voxel of the experts has a truth
TINY: dict[str, Any] = {
    "fold": "fold0",
    "wf": 8,
    "patch_size": [32, 32, 32],
    "patches_per_volume": 4,
    "validation_patches": 2,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), side=SIDE)


def _run(run_id: str, graph: str, **overrides: Any) -> None:
    """The documented line in this process: interpreters take long to start."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in overrides.items()}
    run(
        run_id=run_id, config_file=str(BUNDLE / "configs" / f"{graph}.json"), bundle_root=str(BUNDLE), **plain
    )


def _train(study: Path, out: str, **overrides: Any) -> Path:
    values = {**TINY, "epochs": EPOCHS, **overrides}
    _run("training", "train", manifest=study, out_root=study.parent / out, **values)
    return _models(study, out)


def _models(study: Path, out: str) -> Path:
    return Path(model_folder(study.parent / out, "5mm", "t1c", "fold0"))


def _line(folder: Path, graphs: Sequence[str], launcher: Sequence[str], **overrides: Any) -> list[str]:
    """The documented line, with relative paths, for a folder that is not the checkout."""
    bundle = os.path.relpath(BUNDLE, folder)
    configs = [f"{bundle}/configs/{graph}.json" for graph in graphs]
    values = {"config_file": configs if len(configs) > 1 else configs[0], "bundle_root": bundle}
    values |= {**TINY, **overrides}
    flags = [part for key, value in values.items() for part in (f"--{key}", str(value).replace(" ", ""))]
    return [sys.executable, "-m", *launcher, "monai.bundle", "run", "training", *flags]


def _without_time(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(study: Path) -> Path:
    """Folder of an uninterrupted run."""
    return _train(study, "whole")


@pytest.fixture(scope="module")
def trained(study: Path) -> Path:
    """Folder of a run by the documented line that was killed in its second or third epoch and continued."""
    models = _models(study, "out")
    line = _line(study.parent, ["train"], [], manifest=study.name, out_root="out", epochs=EPOCHS)
    with subprocess.Popen(
        line, cwd=study.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        deadline = time.monotonic() + 240
        while not (models / "last.pt").is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        process.kill()
        output = process.stdout.read().decode() if process.stdout else ""
    assert (models / "last.pt").is_file(), output[-3000:]
    assert 1 <= len(read_epoch_log(models / "training_log.csv")) < EPOCHS
    return _train(study, "out")


def test_killed_and_continued_equals_uninterrupted(trained: Path, whole: Path) -> None:
    logs = [_without_time(read_epoch_log(folder / "training_log.csv")) for folder in (trained, whole)]
    assert [row["epoch"] for row in logs[0]] == ["1", "2", "3"]
    assert logs[0] == logs[1]
    states = [load_checkpoint(folder / "last.pt").states for folder in (trained, whole)]
    assert all(torch.equal(states[0]["model"][key], value) for key, value in states[1]["model"].items())
    assert sorted(path.name for path in trained.glob("model_*")) == sorted(
        path.name for path in whole.glob("model_*")
    )
    assert not list(trained.rglob("*part*"))


def test_log_has_every_part_of_the_loss_and_training_lowers_it(whole: Path) -> None:
    rows = read_epoch_log(whole / "training_log.csv")
    parts = {"total", "mse", "ssim", "tv", "entropy"}
    assert {f"{split}_{part}" for split in ("train", "val") for part in parts} <= set(rows[0])
    assert float(rows[-1]["val_total"]) < float(rows[0]["val_total"])
    assert list((whole / "tensorboard").rglob("events*"))


def test_finished_run_does_nothing_when_started_again(study: Path, whole: Path) -> None:
    before = (whole / "last.pt").stat().st_mtime_ns
    _train(study, "whole")
    assert (whole / "last.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 0.01}, "learning_rate: began with 0.001, got 0.01"),
        ({"w_ssim": 0.5}, "w_ssim"),
        ({"resume": False}, "must not hold a run yet"),
    ],
)
def test_run_is_not_continued_with_other_settings(
    study: Path, whole: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(SystemExit, match=words):
        _train(study, "whole", **{"epochs": EPOCHS + 1, **change})


def test_workers_and_the_place_of_the_cache_do_not_change_the_result(study: Path, whole: Path) -> None:
    models = _train(study, "other", epochs=1, workers=2, cache_dir=str(study.parent / "cache"))
    assert len(list((study.parent / "cache").iterdir())) == 3
    first = _without_time(read_epoch_log(whole / "training_log.csv"))[:1]
    assert _without_time(read_epoch_log(models / "training_log.csv")) == first


def test_two_processes_train_the_gate_of_one(study: Path) -> None:
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    # Adam turns rounding into steps where gradients are tiny; float32 keeps that below what is tested.
    shared = {"epochs": 1, "amp_dtype": "float32"}
    graphs = ["train", "multi_gpu_train"]
    line = _line(study.parent, graphs, launcher, manifest=study.name, out_root="two", batch_size=1, **shared)
    result = subprocess.run(line, cwd=study.parent, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    one, two = _train(study, "one", batch_size=2, **shared), _models(study, "two")
    for mine, theirs in zip(
        *(read_epoch_log(folder / "training_log.csv") for folder in (one, two)), strict=True
    ):
        for key, value in mine.items():
            if key != "seconds":
                assert float(theirs[key]) == pytest.approx(float(value), rel=1e-3), key
    weights = [
        torch.cat([value.flatten() for value in load_checkpoint(folder / "last.pt").states["model"].values()])
        for folder in (one, two)
    ]
    assert (weights[0] - weights[1]).norm() < 1e-3 * weights[0].norm()
    assert len(list((two / "tensorboard" / "train").iterdir())) == 1


def test_bad_training_volume_stops_the_run_before_it_trains(study: Path) -> None:
    folder = study.parent / "spoilt"
    folder.mkdir()
    spoilt = tiny_study.write_study(folder)
    path = folder / "p1_SR-SMORE.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SystemExit, match=r"p1_SR-SMORE\.nii\.gz must be a readable image"):
        _train(spoilt, "none")
    assert not _models(spoilt, "none").exists()
    models = _train(spoilt, "some", epochs=1, skip_bad_cases=True)
    assert len(read_epoch_log(models / "training_log.csv")) == 1


def test_named_checkpoint_is_a_gate(trained: Path) -> None:
    rows = read_epoch_log(trained / "training_log.csv")
    path = trained / f"model_epoch003_val{float(rows[-1]['val_total']):.6f}.pt"
    gate = load_gate(path, pulse=Pulse.t1c, spacing=Spacing.mm5)
    assert gate.window == 32
    assert gate.protocol["intensity"]["percentiles"] == [0.5, 99.5]


def test_monai_loads_the_adopted_network(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLE / "configs", tmp_path / NAME / "configs")
    for config in (tmp_path / NAME / "configs").glob("*.json"):
        config.write_text(config.read_text().replace('"wf": 16', '"wf": 8'))
    path = adopt_checkpoint(NAME, trained, root=tmp_path)
    saved = torch.load(path, weights_only=True)
    for kind in ("train", "inference"):
        network = load(NAME, bundle_dir=str(tmp_path), workflow_type=kind)
        assert all(torch.equal(saved[key], value) for key, value in network.state_dict().items())


def test_evaluating_reports_every_baseline_beside_the_model(study: Path, trained: Path) -> None:
    gate = {"ckpt_path": trained, "wf": 8, "window": [32, 32, 32]}
    _run("evaluating", "evaluate", manifest=study, out_root=study.parent / "out", **gate)
    report = json.loads((trained / "test_report.json").read_text())
    assert [case["subject"] for case in report["cases"]] == ["p3"]
    assert report["context"]["fold"] == "fold0"
    paths = report["cases"][0]["paths"]
    assert set(paths) == {"low", "high", "fused", *tiny_study.BLURS}
    assert all(Path(path).is_file() for path in paths.values())
    for methods in report["cases"][0]["scores"].values():
        assert {"fused", "mean", *tiny_study.BLURS} <= set(methods)
        assert methods["fused"]["psnr_db"] > methods["BSPLINE"]["psnr_db"]


def test_inferring_writes_volumes_in_the_units_and_axes_of_the_experts(study: Path, trained: Path) -> None:
    gate = {"ckpt_path": trained, "wf": 8, "window": [32, 32, 32]}
    _run("inferring", "inference", manifest=study, out_root=study.parent / "fused", **gate)
    for name in ("p0", "p1", "p2", "p3"):
        stem = study.parent / "fused" / "5mm" / "output_volumes" / f"{name}-t1c"
        fused, weights = nib.load(f"{stem}.nii.gz"), nib.load(f"{stem}_weights.nii.gz")
        files = [study.parent / f"{name}_SR-{expert}.nii.gz" for expert in tiny_study.BLURS]
        experts = np.stack([nib.load(file).get_fdata() for file in files])
        np.testing.assert_allclose(fused.affine, np.eye(4))
        np.testing.assert_allclose(weights.get_fdata().sum(axis=-1), 1, atol=1e-4)
        spread = experts.max(axis=0) - experts.min(axis=0)
        assert (np.abs(fused.get_fdata() - experts.mean(axis=0)) <= 2 * spread + 0.01).all()
