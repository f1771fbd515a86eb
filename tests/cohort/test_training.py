"""Trainings as jobs: the same outcomes as in one process, failures listed, GPUs shared by torchrun."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from typer.testing import CliRunner

import tiny_study
from revoxel.cli.main import app
from revoxel.cohort.training import on_device
from revoxel.core.bundles import configs_root
from revoxel.core.configuration import TABLE
from revoxel.sagnef.campaign.plan import CampaignSettings, PlannedModel, plan_campaign
from revoxel.sagnef.campaign.run import distributed_command, run_model


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds, of which the second trains on a damaged volume."""
    folder = tmp_path_factory.mktemp("study")
    tiny_study.write_broken_campaign(folder)
    return folder


def planned(study: Path, out: Path, **values: Any) -> PlannedModel:
    settings = CampaignSettings(
        manifest=study / "manifest.json",
        configuration=study / "tiny.yaml",
        table=configs_root() / "sagnef" / TABLE,
        folds=("fold0",),
        values={"out_root": str(out), "device": "$torch.device('cuda:0')", **values},
    )
    return plan_campaign(settings)[0]


def merged(command: list[str]) -> Mapping[str, Any]:
    files = command[command.index("--config_file") + 1]
    return ConfigParser.load_config_files(json.loads(files.replace("'", '"')))


def test_two_gpus_share_the_batch_of_the_recipe(study: Path, tmp_path: Path) -> None:
    command = distributed_command(planned(study, tmp_path, batch_size=4), 2, tmp_path / "values.json")
    line = " ".join(command)
    assert "-m torch.distributed.run --standalone --nproc_per_node=2 -m monai.bundle run training" in line
    graph = merged(command)
    assert graph["batch_size"] == 2
    assert graph["recipe"]["batch_size"] == 4
    assert "LOCAL_RANK" in graph["device"]
    assert graph["network"]["_target_"].endswith("DistributedDataParallel")
    assert (graph["fold"], graph["wf"], graph["out_root"]) == ("fold0", 8, str(tmp_path))


def test_model_goes_to_the_device_of_the_worker(study: Path, tmp_path: Path) -> None:
    placed = on_device(planned(study, tmp_path), torch.device("cpu"))
    assert {values["device"] for values in placed.values.values()} == {"$torch.device('cpu')"}


@pytest.mark.slow
def test_two_processes_train_one_model_that_can_then_be_continued(study: Path, tmp_path: Path) -> None:
    model = on_device(planned(study, tmp_path), torch.device("cpu"))
    # Three GPUs, a batch of two: the batch decides.
    outcome = run_model(model, n_processes=3)
    assert not outcome.reason
    assert outcome.n_epochs == 1
    assert "fused" in outcome.psnr_db
    assert planned(study, tmp_path).steps() == "finished"
    assert planned(study, tmp_path, epochs=2).steps() == "epochs 2 to 2, evaluate"
    failed = run_model(
        replace(model, values={**model.values, "train": model.values["train"] | {"fold": "no"}})
    )
    assert "fold must be one of" in failed.reason


@pytest.mark.slow
def test_models_are_jobs_and_a_failed_one_is_listed(study: Path, tmp_path: Path) -> None:
    line = [
        "train",
        "-m",
        str(study / "manifest.json"),
        "--cfg",
        str(study / "tiny.yaml"),
        "-o",
        str(tmp_path),
    ]
    line += ["--set", "validation_patches=1", "--device", "cpu"]
    line += ["--scheduler", "local", "--jobs", "2", "--cores-per-worker", "1"]
    result = CliRunner().invoke(app, line, env={"COLUMNS": "160"})
    assert result.exit_code == 1, result.output
    assert "failed: 5mm t1c fold1:" in result.stderr
    assert "p3_SR-SMORE.nii.gz must be a readable image" in result.stderr
    row = next(line for line in result.stdout.splitlines() if line.startswith("│ 5mm t1c fold0"))
    assert "(SMORE)" in row
    dry = CliRunner().invoke(app, [*line, "--dry-run"], env={"COLUMNS": "160"})
    assert dry.stdout.count("finished") == 1
