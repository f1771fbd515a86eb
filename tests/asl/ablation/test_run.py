"""Experiments: every overlay changes known keys, trials resume, a verdict needs an interval without 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from asl_runs import TINY
from revoxel.asl.ablation import run as ablation
from revoxel.asl.ablation.experiments import Experiment, find_experiments
from revoxel.asl.ablation.run import AblationSettings, Trial, finished_trial, run_experiments
from revoxel.asl.ablation.verdict import Difference, compare_with, verdict_of, verdict_rows, write_markdown
from revoxel.asl.evaluation.held_out import ScanRecipe
from revoxel.asl.learning.configuration import (
    BUNDLE,
    INFERENCE,
    asl_configs,
    default_sections,
    read_sections,
    trained_sections,
)
from revoxel.asl.learning.source_config import SOURCE_KEYS, from_source
from revoxel.asl.network.models import build_network
from revoxel.asl.network.networks import AmplitudeAwareSpatialASLNet
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.cli.asl import app
from revoxel.cli.parsing import parse_values, seconds_of
from revoxel.core.training import overlaid, planned_network

PRODUCTION = asl_configs() / "production_v2.yaml"
SOURCE = yaml.safe_load(PRODUCTION.read_text())
ALL = find_experiments("all")
CHANGED: dict[str, Any] = {
    "model_class_name": "SpatialASLNet",
    "hidden_sizes": [8, 16],
    "use_film_at_bottleneck": False,
    "use_film_at_decoder": False,
    "use_amplitude_output_modulation": False,
    "normalization_mode": "per_curve",
    "norm_type": "none",
    "loss_mode": "mae",
    "loss_type": "huber",
    "domain_randomization": False,
    "pld_values": [500, 1500],
    "active_features": ["mean"],
    "noise_type": "gaussian",
    "data_noise_components": ["thermal"],
    "training_noise_levels": [3.0, 9.0],
}


@pytest.mark.parametrize("key", list(SOURCE))
def test_every_key_of_the_source_is_consumed(key: str) -> None:
    source = SOURCE | ({"model_class_name": "VoxelASLNet"} if key == "active_features" else {})
    value = source[key]
    if key in CHANGED:
        changed = CHANGED[key]
    elif isinstance(value, list):
        changed = [1.1 * number for number in value]
    else:
        changed = value + 1
    extra = {"loss_mode": "huber"} if key == "loss_type" else {}
    assert from_source(source) != from_source({**source, key: changed, **extra})


def test_the_table_of_the_source_covers_its_keys_and_stands_in_the_documentation() -> None:
    assert set(SOURCE_KEYS) == set(SOURCE)
    page = (asl_configs().parents[1] / "docs" / "asl_methods.md").read_text(encoding="utf-8")
    for key, home in SOURCE_KEYS.items():
        assert f"| `{key}` | {home} |" in page


def test_the_source_becomes_what_it_says() -> None:
    sections = read_sections(PRODUCTION)
    network = build_network(sections["network"]["model"], sections["network"]["arguments"])
    assert isinstance(network, AmplitudeAwareSpatialASLNet)
    assert network.modulation is not None
    assert network.statistics is not None
    assert not network.residual_on_fit
    assert sections["data"]["snr_range"] == [6.0, 75.0]
    assert sections["inference"]["members"] == 3
    voxel = from_source({**SOURCE, "model_class_name": "VoxelASLNet"})["network"]
    build_network(voxel["model"], voxel["arguments"])


def test_wrong_sources_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown \\['lr'\\]"):
        from_source({**SOURCE, "lr": 1})
    with pytest.raises(ValueError, match="no \\['T_tau'\\]"):
        from_source({key: value for key, value in SOURCE.items() if key != "T_tau"})
    with pytest.raises(ValueError, match="loss_type and loss_mode"):
        from_source({**SOURCE, "loss_type": "l3"})


@pytest.mark.parametrize("experiment", ALL, ids=lambda experiment: experiment.name)
def test_every_experiment_names_known_keys_and_builds_its_network(experiment: Experiment) -> None:
    planned_network(BUNDLE, asl_configs(), trained_sections(experiment.sections))
    assert set(experiment.sections[INFERENCE]) <= {"members", "dropout_samples"}


def test_experiments_00_to_20_are_there_and_each_differs_from_its_neighbours() -> None:
    chosen = find_experiments("00-20")
    assert {experiment.name[:6] for experiment in chosen} >= {f"exp_{number:02d}" for number in range(21)}
    assert [experiment.name for experiment in chosen[:2]] == ["default", "exp_09"]
    whole = [json.dumps([experiment.sections, experiment.finetune], sort_keys=True) for experiment in ALL]
    assert len(set(whole)) == len(ALL)


def test_unknown_experiments_and_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="experiments must be among"):
        find_experiments("21")
    for name, text in {
        "default": "title: x\nbase: default\nsections: {}\n",
        "exp_09": "title: x\nbase: other\nsections: {}\n",
        "a": "title: x\nbase: default\nsection: {}\n",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ValueError, match="base must be one of"):
        find_experiments("default", tmp_path)
    (tmp_path / "exp_09.yaml").write_text("title: x\nbase: default\nsections: {}\n")
    with pytest.raises(ValueError, match=r"unknown \['section'\]"):
        find_experiments("a", tmp_path)


def test_a_configuration_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    sections = overlaid(default_sections(), {"train": {"rate": 1}})
    with pytest.raises(ValueError, match=r"train\.rate"):
        planned_network(BUNDLE, asl_configs(), trained_sections(sections))
    with pytest.raises(FileNotFoundError, match="existing YAML file"):
        read_sections(tmp_path / "none.yaml")


def _trial(name: str, errors: list[float], seed: int = 0) -> Trial:
    values = {"10": {"cbf": errors, "att": [30 * error for error in errors]}}
    return Trial(name, name, seed, "", 1.0, 1.0, 1000, {"10": "f"}, values)


def test_differences_are_paired_by_phantom_and_seed() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.5, 5, 30)
    better = hard - 0.1 - 0.02 * rng.random(30)
    trials = [_trial("default", list(hard)), _trial("a", list(better)), _trial("a", list(hard + 9), seed=1)]
    found = compare_with(trials, "a", "default", 10.0)
    assert found["cbf"].value == pytest.approx(-0.11, abs=0.01)
    assert found["cbf"].high < 0
    assert compare_with(trials, "a", "none", 10.0) == {}


@pytest.mark.parametrize(
    ("cbf", "att", "verdict"),
    [
        ((-1, -2, -0.5), (0, -1, 1), "improves"),
        ((-1, -2, -0.5), (1, 0.5, 2), "mixed"),
        ((1, 0.5, 2), (0, -1, 1), "worse"),
        ((-1, -2, 0.5), (0, -1, 1), "no difference"),
    ],
)
def test_verdicts(cbf: tuple[float, ...], att: tuple[float, ...], verdict: str) -> None:
    assert verdict_of({"cbf": Difference(*cbf), "att": Difference(*att)}) == verdict


def test_failed_trials_stand_in_the_table_with_their_reason(tmp_path: Path) -> None:
    trials = [_trial("default", [1.0, 2.0, 3.0]), Trial("a", "a", 0, "no memory")]
    rows = verdict_rows(trials, ("default",), 10.0)
    assert rows["a"]["verdict"] == "failed: no memory"
    assert rows["default"]["than default"] == ""
    text = write_markdown(rows, "A title", tmp_path / "v.md").read_text()
    assert text.startswith("A title\n")
    assert text.count("\n|") == 4


def test_times_and_settings_are_read() -> None:
    assert seconds_of("5min") == 300
    assert seconds_of("1.5 h") == 5400
    with pytest.raises(ValueError, match="--budget must be a time"):
        seconds_of("5")
    assert parse_values(["a=1", "b=[1, 2]"]) == {"a": 1, "b": [1, 2]}
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_values(["a"])
    with pytest.raises(ValueError, match="an ablation must have"):
        AblationSettings(budget_s=0)


def test_a_failure_is_told_and_does_not_stop_the_rest_and_done_trials_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = AblationSettings(1.0, (0,), (10.0,))
    started: list[str] = []

    def trained(experiment: Experiment, trial: Trial, *_: object) -> Trial:
        if experiment.name == "exp_09":
            raise ValueError("too wide")
        return _trial(experiment.name, [1.0, 2.0])

    monkeypatch.setattr(ablation, "_trained_and_scored", trained)
    chosen = find_experiments("plain")
    for expected in (["default", "exp_09", "plain"], ["exp_09"]):
        started.clear()
        trials = list(run_experiments(chosen, settings, tmp_path, lambda name, _: started.append(name)))
        assert started == expected
    assert [trial.reason for trial in trials] == ["", "too wide", ""]
    with pytest.raises(ValueError, match="must have the budget 2 s"):
        finished_trial(tmp_path / "plain" / "seed0", AblationSettings(2.0, (0,), (10.0,)))


def test_dry_runs_write_nothing(tmp_path: Path) -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["ablate", "--experiments", "10", "--dry-run", "-o", str(tmp_path / "a")])
    assert "exp_10_split_heads" in shown.output
    shown = runner.invoke(app, ["train", "--cfg", str(PRODUCTION), "--dry-run", "-o", str(tmp_path / "t")])
    assert "3185 k weights" in shown.output
    assert shown.output.count(": train") >= 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_experiments_with_all_their_switches_run(tmp_path: Path) -> None:
    values = {**TINY, "slices_per_epoch": 4}
    del values["budget_s"], values["epochs"]
    settings = AblationSettings(
        0.5, (0,), (10.0,), ScanRecipe(PhantomConfig(size=32), n_phantoms=2), values=values
    )
    chosen = find_experiments("14,17,18,20")
    trials = list(run_experiments(chosen, settings, tmp_path))
    assert [trial.reason for trial in trials] == [""] * len(trials)
    assert {trial.fingerprints["10"] for trial in trials if trial.experiment != "exp_09"} == {
        trials[0].fingerprints["10"]
    }
    tuned = next(trial for trial in trials if trial.experiment == "exp_14")
    assert {"shift before", "shift after"} <= set(tuned.errors)
