"""`revoxel semivae train`: the plan is shown, a tiny run ends with gates, what cannot work is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from revoxel.cli.semivae import app
from revoxel.core.configuration import read_mapping
from revoxel.core.training import read_sections, source_folder
from revoxel.semivae.network.models import load_model
from semivae_cohort import TINY, write_small_cohort

NAME = "semivae_brats"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_cohort(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections: dict[str, Any] = {
        "network": {key: TINY[key] for key in ("partition", "arguments")},
        "loss": {"semantic_weights": {"shape": None}},
        "data": {key: TINY[key] for key in ("min_count",)},
        "train": {key: TINY[key] for key in ("epochs", "val_interval", "batch_size")},
    }
    path = tmp_path_factory.mktemp("cfg") / "tiny.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_dry_run_shows_network_patients_and_plan_and_writes_nothing(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = invoke("--data", study, "--fold", "fold0", "-o", out, "--budget", "10min", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "vol 16, loc 12, shape 24, residual 76" in result.output
    assert "6 scans of 6 patients to learn from" in result.output
    assert "2 scans of 2 patients left out" in result.output
    assert "budget_s: 600.0" in result.output
    assert not out.exists()


@pytest.mark.slow
def test_run_ends_with_gates_and_weights(study: Path, cfg: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--data", study, "--fold", "fold0", "--cfg", cfg, "-o", out, "--threads", 1)
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert "diag/kl_residual" in result.output
    assert load_model(out / "model.pt").grid.voxel_mm == 6.5
    log = (out / "training_log.csv").read_text()
    assert invoke(*words).exit_code == 0
    assert (out / "training_log.csv").read_text() == log


def test_network_that_contradicts_itself_is_one_line(study: Path, tmp_path: Path) -> None:
    words = ("--data", study, "--fold", "fold0", "-o", tmp_path / "run")
    result = invoke(*words, "--set", "arguments={decoder: {template: true, template_modes: 77}}")
    assert "template_modes must be at most the size of the part 'residual'" in str(result.exception)


def test_unknown_fold_is_one_line(study: Path, tmp_path: Path) -> None:
    result = invoke("--data", study, "--fold", "fold9", "-o", tmp_path, "--dry-run")
    assert "fold must be one of" in str(result.exception)


@pytest.mark.slow
def test_too_few_scans_for_a_feature_stop_the_run_with_one_line(
    study: Path, cfg: Path, tmp_path: Path
) -> None:
    result = invoke("--data", study, "--fold", "fold0", "--cfg", cfg, "--set", "min_count=20", "-o", tmp_path)
    assert "must be defined in at least 20 training scans" in str(result.exception)


def test_every_key_of_the_configuration_reaches_a_graph() -> None:
    source = source_folder(NAME)
    keys = read_mapping(source / "model_configuration_keys.yaml")
    sections = read_mapping(source / "model_configuration.yaml")
    assert {f"{name}.{key}" for name, section in sections.items() for key in section} == set(keys)
    assert all(keys.values())


def test_configuration_of_a_user_is_laid_over_the_shipped_one(cfg: Path) -> None:
    sections = read_sections(cfg, NAME)
    assert sections["train"]["batch_size"] == TINY["batch_size"]
    assert sections["loss"]["tumour_weight"] > 1
