"""The plan of a campaign: which models, how many cases, what is missing, and every key reaches its graph."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_study
from revoxel.core.bundles import configs_root
from revoxel.core.configuration import CONFIGURATION, TABLE
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.campaign.plan import CampaignSettings, PlannedModel, plan_campaign
from revoxel.sagnef.campaign.run import remove_run

SHIPPED = configs_root() / "sagnef"
KEYS: dict[str, dict[str, str]] = yaml.safe_load((SHIPPED / TABLE).read_text())
WORDS = {
    "range": "zscore",
    "hann": "gaussian",
    "spread": "sharpen",
    "isotropic": "rms",
    "constant": "cosine",
    "auto": "float32",
    "output": "elsewhere",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), side=12)


def _plan(study: Path, configuration: Path = SHIPPED / CONFIGURATION, **settings: Any) -> list[PlannedModel]:
    return plan_campaign(
        CampaignSettings(manifest=study, configuration=configuration, table=SHIPPED / TABLE, **settings)
    )


@pytest.fixture(scope="module")
def unchanged(study: Path) -> PlannedModel:
    """The model of the shipped configuration."""
    return _plan(study)[0]


def _changed(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 8
        case float():
            return value / 2 or 0.25
        case str():
            return WORDS[value]
        case [str(), *_]:
            return value[::-1]
    return [side + 8 for side in value]


def test_without_options_the_models_are_those_with_cases(study: Path, tmp_path: Path) -> None:
    (model,) = _plan(study, values={"out_root": str(tmp_path)})
    assert model.name == "5mm t1c fold0"
    assert model.n_cases == {"train": 2, "val": 1, "test": 1}
    assert model.folder == tmp_path / "5mm" / "model_data" / "t1c" / "fold0"
    assert model.steps() == "epochs 1 to 50, evaluate"
    assert not model.folder.exists()


def test_models_that_an_option_names_must_have_cases(study: Path) -> None:
    models = _plan(study, spacings=(Spacing.mm5, Spacing.mm7), pulses=(Pulse.t1c,))
    assert [model.steps() for model in models] == ["epochs 1 to 50, evaluate", "cannot run"]
    assert models[1].problem == "no train cases in the manifest"


def test_models_come_once_per_spacing_pulse_and_fold(study: Path, tmp_path: Path) -> None:
    content = json.loads(study.read_text())
    content["folds"] += [{"name": "fold1", "train": ["p0", "p3"], "val": ["p1"], "test": ["p2"]}]
    content["root"] = str(study.parent)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(content))
    assert [model.fold for model in _plan(manifest)] == ["fold0", "fold1"]
    assert [model.fold for model in _plan(manifest, folds=("fold1",))] == ["fold1"]
    with pytest.raises(ValueError, match="fold must be one of"):
        _plan(manifest, folds=("fold7",))


def test_missing_file_is_named_in_the_plan(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, side=12)
    (tmp_path / "p1_SR-SMORE.nii.gz").unlink()
    (tmp_path / "p3_SR-SMORE.nii.gz").unlink()
    (model,) = _plan(study)
    assert model.problem.startswith("cases.1.experts.SMORE: no such file")
    assert model.problem.endswith("(and 1 more files)")
    assert len(model.missing) == 2
    assert not _plan(study, values={"skip_bad_cases": True})[0].problem


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_of_the_configuration_reaches_the_models(
    key: str, study: Path, unchanged: PlannedModel, tmp_path: Path
) -> None:
    configuration = yaml.safe_load((SHIPPED / CONFIGURATION).read_text())
    section, name = key.split(".")
    value = _changed(configuration[section][name])
    configuration[section][name] = value
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(configuration))
    before, after = unchanged, _plan(study, path)[0]
    for graph in ("train", "evaluate"):
        different = {
            entry
            for entry in after.values[graph]
            if before.values[graph][entry] != after.values[graph][entry]
        }
        assert different == ({KEYS[key][graph]} if graph in KEYS[key] else set())
        assert all(after.values[graph][entry] == value for entry in different)


def test_configuration_says_which_models_are_made(study: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("data: {spacings: [3mm], pulses: [t1c]}\n")
    with pytest.raises(ValueError, match="must hold folds, and cases"):
        _plan(study, path)


def test_unknown_values_and_keys_are_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got \['epoch'\]"):
        _plan(study, values={"epoch": 2})
    path = tmp_path / "model.yaml"
    path.write_text("train: {epoch: 2}\n")
    with pytest.raises(ValueError, match=r"unknown \['train\.epoch'\]"):
        _plan(study, path)


def test_removing_a_run_leaves_other_files_alone(tmp_path: Path) -> None:
    for name in ("model_epoch001_val0.100000.pt", "last.pt", "training_log.csv", "notes.txt"):
        (tmp_path / name).touch()
    remove_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_documentation_explains_every_key(repository: Path) -> None:
    page = (repository / "docs" / "training.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(key for row in rows for key in re.findall(r"`([^`]+)`", row)) == sorted(KEYS)
