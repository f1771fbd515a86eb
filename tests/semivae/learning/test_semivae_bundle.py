"""The bundle of SemiVAE trains, goes on, is scored, encodes, and trains in two processes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import run

from revoxel.core.bundle_checks import check_metadata, check_network, quiet_monai
from revoxel.core.bundles import bundle_folder
from revoxel.core.checkpoints import load_checkpoint
from revoxel.core.handlers import LAST, read_epoch_log
from revoxel.core.training import default_sections, train_network
from revoxel.semivae.network.models import load_model, patients_digest
from semivae_cohort import TINY, write_small_cohort

NAME = "semivae_brats"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_cohort(tmp_path_factory.mktemp("study"), n_patients=20)


@pytest.fixture(scope="module")
def trained(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return train_network(NAME, default_sections(NAME), folder, study=str(study), **TINY)


def in_bundle(run_id: str, graph: str, **values: Any) -> None:
    """The documented line in this process: interpreters take long to start."""
    bundle = bundle_folder(NAME)
    settings = {"config_file": str(bundle / "configs" / f"{graph}.json"), "bundle_root": str(bundle)}
    with quiet_monai():
        run(run_id=run_id, **settings, **values)


@pytest.mark.parametrize("name", [NAME, "semivae_brats_128"])
def test_bundle_says_what_its_network_takes_and_gives(name: str) -> None:
    check_metadata(bundle_folder(name))
    if name == NAME:
        check_network(bundle_folder(name))


@pytest.mark.slow
def test_training_logs_all_diagnostics_under_the_seeds_names(trained: Path) -> None:
    log = read_epoch_log(trained / "training_log.csv")
    assert [row["epoch"] for row in log] == ["1", "2"]
    names = {"diag/au_count_residual", "diag/recon_mu_mse", "diag/recon_z0_mse", "diag/recon_mean_image_mse"}
    names |= {"sem/vol_r2", "sem/loc_rmse", "semivae/z_residual_kl", "semivae/corr_z_vol_z_residual"}
    names |= {"dcor/z_vol_z_loc", "val_epoch/ode_readiness", "latent_diag/mutual_information"}
    assert names <= set(log[0])
    assert {"train_intervention", "train_kl_residual", "val_total", "val_semantic"} <= set(log[0])
    assert list((trained / "tensorboard" / "validation").glob("events*"))


@pytest.mark.slow
def test_run_ends_with_weights_that_know_their_training(trained: Path, study: Path) -> None:
    model = load_model(trained / "model.pt")
    fold = json.loads((study / "study.json").read_text())["folds"][0]
    assert model.record["training"]["patients_sha256"] == patients_digest(fold["train"])
    assert model.bank is not None
    assert model.normalizer.fitted.train_ids == sorted(fold["train"])
    gates = json.loads((trained / "validation.json").read_text())["gates"]
    assert "intervention/off_diagonal_max" in {gate["metric"] for gate in gates}
    assert not set(fold["test"]) & set(json.loads((trained / "normalizer.json").read_text())["train_ids"])


@pytest.mark.slow
def test_interrupted_run_goes_on_with_queue_and_variances(study: Path, trained: Path, tmp_path: Path) -> None:
    values = {"study": str(study), **TINY, "cubes": str(trained.parent / "semivae_cubes")}
    train_network(NAME, default_sections(NAME), tmp_path / "whole", **values)
    half = load_checkpoint(tmp_path / "whole" / LAST).states
    assert half["objective"]["likelihood.n_updates"] > 0
    assert half["objective"]["parts.independence.n_seen"] > 0
    assert half["update"]["caught_up"] is True
    log = (tmp_path / "whole" / "training_log.csv").read_text()
    train_network(NAME, default_sections(NAME), tmp_path / "whole", **values)
    assert (tmp_path / "whole" / "training_log.csv").read_text() == log
    with pytest.raises(SystemExit, match="learning_rate: began with"):
        train_network(NAME, default_sections(NAME), tmp_path / "whole", **(values | {"learning_rate": 1.0}))


@pytest.mark.slow
def test_bundle_is_scored_and_encodes(trained: Path, study: Path, tmp_path: Path) -> None:
    weights = str(trained / "model.pt")
    in_bundle(
        "evaluating",
        "evaluate",
        ckpt_path=weights,
        study=str(study),
        fold="fold0",
        out_root=str(tmp_path / "scores"),
    )
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert record["n_patients"] == 4
    patient = next(path for path in sorted(study.iterdir()) if path.is_dir())
    in_bundle("inferring", "inference", ckpt_path=weights, dataset_dir=str(patient), out_root=str(tmp_path))
    latent = next((tmp_path / "latents").glob("*_latent.json"))
    assert len(json.loads(latent.read_text())["mu"]) == 22


@pytest.mark.slow
def test_aggressive_encoder_trains_through_the_bundle(study: Path, trained: Path, tmp_path: Path) -> None:
    values = TINY | {"aggressive_steps": 2, "epochs": 1, "cubes": str(trained.parent / "semivae_cubes")}
    train_network(NAME, default_sections(NAME), tmp_path / "run", study=str(study), **values)
    with (tmp_path / "run" / "training_log.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


@pytest.mark.slow
def test_volume_is_learnt_in_a_minute(tmp_path: Path) -> None:
    study = write_small_cohort(tmp_path / "study", n_patients=260, radius_mm=(6.0, 26.0))
    parts = [
        {"name": "vol", "size": 8, "features": ["wt.log_volume"]},
        {"name": "residual", "size": 24},
    ]
    values = {
        "study": str(study),
        "fold": "fold0",
        "partition": {"parts": parts},
        "arguments": {"pooling": {"strides": {"vol": [8, 16], "residual": [8]}}},
        "residualize": {},
        "semantic_weights": {},
        "intervention": {"target": 0.0},
        "independence": {"target": 0.0},
        "presence": {"target": 0.0},
        "val_interval": 5,
        "batch_size": 8,
        "learning_rate": 0.003,
        "budget_s": 45,
        "epochs": 1000,
    }
    torch.set_num_threads(1)
    train_network(NAME, default_sections(NAME), tmp_path / "run", **values)
    figures = json.loads((tmp_path / "run" / "validation.json").read_text())["figures"]
    assert figures["sem/wt.log_volume_r2"] > 0.7


@pytest.mark.slow
def test_two_processes_train_one_network(study: Path, trained: Path, tmp_path: Path) -> None:
    bundle = bundle_folder(NAME)
    values = tmp_path / "values.json"
    cubes = {"cubes": str(trained.parent / "semivae_cubes"), "batch_size": 2, "epochs": 1}
    values.write_text(json.dumps(TINY | cubes | {"study": str(study), "out_root": str(tmp_path)}))
    files = [bundle / "configs" / name for name in ("train.json", "multi_gpu_train.json")]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *("-m", "monai.bundle", "run", "training"),
        *("--config_file", str([str(path) for path in (*files, values)])),
        *("--bundle_root", str(bundle)),
    ]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(read_epoch_log(tmp_path / NAME / "training_log.csv")) == 1
    model = load_model(tmp_path / NAME / "model.pt")
    queue = load_checkpoint(tmp_path / NAME / LAST).states["objective"]["parts.independence.n_seen"]
    assert int(queue) == 12
    assert all(torch.isfinite(value).all() for value in model.network.state_dict().values())
