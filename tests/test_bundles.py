"""The committed bundles equal their sources, say what they are, and hold no programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle import ConfigParser, run
from typer.testing import CliRunner

from revoxel import __version__
from revoxel.cli.bundles import app
from revoxel.core.bundle_checks import check_metadata
from revoxel.core.bundles import build_bundle, bundle_sources, check_bundle
from revoxel.core.pulses import Pulse, Spacing

ROOT = Path(__file__).resolve().parents[1]
NAMES = [f"sagnef_{spacing}_{pulse}" for spacing in Spacing for pulse in Pulse]
OTHERS = [
    *("asl_cbf_att", "asl_cbf_att_any", "ct_detail_64", "ct_two_view_32", "ct_upsampler_64_256"),
    *("semivae_brats", "semivae_brats_128"),
]
SOURCES = {source.name: source for source in bundle_sources(ROOT / "configs")}
VERSIONS = {"monai": "monai", "pytorch": "torch", "numpy": "numpy"}


def test_sources_and_bundles_are_the_twelve_and_the_others() -> None:
    assert sorted(SOURCES) == sorted([*NAMES, *OTHERS])
    assert sorted(path.name for path in (ROOT / "bundles").iterdir()) == sorted(SOURCES)


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_bundle_equals_its_sources(name: str) -> None:
    assert check_bundle(SOURCES[name], ROOT / "bundles" / name, ROOT / "LICENSE") == []


@pytest.mark.parametrize("name", NAMES)
def test_metadata_names_its_bundle_and_the_versions_of_the_checks(name: str) -> None:
    metadata = check_metadata(ROOT / "bundles" / name)
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    pinned["revoxel"] = __version__
    for package, version in metadata["required_packages_version"].items():
        assert version == pinned[package]
    stated = {name: metadata[f"{key}_version"] for key, name in VERSIONS.items()}
    assert stated == {name: pinned[name] for name in VERSIONS.values()}
    formats = metadata["network_data_format"]
    for tensor in (formats["inputs"]["image"], formats["outputs"]["pred"]):
        assert len(tensor["channel_def"]) == tensor["num_channels"]
    spacing, pulse = name.split("_")[1:]
    assert metadata["name"] == f"SAGNEF {spacing} {pulse}"


@pytest.mark.parametrize("name", NAMES)
def test_card_states_the_form_of_its_model_and_its_data(name: str) -> None:
    folder = ROOT / "bundles" / name
    graph = json.loads((folder / "configs" / "inference.json").read_text())
    card = (folder / "docs" / "README.md").read_text()
    yes_or_no = {True: "yes", False: "no"}
    assert f"| residual, bounded by the experts' spread | {yes_or_no[graph['residual']]} |" in card
    assert f"| profile planes modulate the features | {yes_or_no[graph['modulation']]} |" in card
    assert f"| width of the network | {graph['wf']} |" in card
    assert "not for diagnosis" in card
    assert "$" not in card
    licences = (folder / "docs" / "data_license.txt").read_text()
    assert all(source in licences for source in ("BraTS 2021", "open_ms", "TCGA-LGG"))


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_configs_hold_no_macro_and_few_expressions(name: str) -> None:
    for path in (ROOT / "bundles" / name / "configs").glob("*.json"):
        text = path.read_text()
        assert '"%' not in text
        assert "lambda" not in text


CONFIGURATION = ROOT / "configs" / "sagnef" / "model_configuration.yaml"
KEYS = yaml.safe_load((ROOT / "configs" / "sagnef" / "model_configuration_keys.yaml").read_text())


@pytest.mark.parametrize("key", [key for key, graphs in KEYS.items() if graphs])
def test_every_key_of_the_model_configuration_reaches_its_graphs(key: str, tmp_path: Path) -> None:
    section, name = key.split(".")
    system = tmp_path / "configs" / "sagnef"
    shutil.copytree(ROOT / "configs" / "sagnef", system)
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration[section][name] = "changed"
    (system / CONFIGURATION.name).write_text(yaml.safe_dump(configuration))
    folder = build_bundle(bundle_sources(tmp_path / "configs")[0], tmp_path / "bundle", ROOT / "LICENSE")
    for graph in ("train", "evaluate", "inference"):
        changed = json.loads((folder / "configs" / f"{graph}.json").read_text())
        before = json.loads((ROOT / "bundles" / NAMES[0] / "configs" / f"{graph}.json").read_text())
        different = {entry for entry in before if before[entry] != changed[entry]}
        assert different == ({KEYS[key][graph]} if graph in KEYS[key] else set())


def test_table_and_model_configuration_have_the_same_keys() -> None:
    sections = yaml.safe_load(CONFIGURATION.read_text())
    assert {f"{name}.{key}" for name, section in sections.items() for key in section} == set(KEYS)


@pytest.mark.parametrize("graph", ["train", "evaluate", "inference"])
def test_every_top_level_value_of_a_graph_is_used_or_run(graph: str) -> None:
    text = (ROOT / "bundles" / NAMES[0] / "configs" / f"{graph}.json").read_text()
    unused = {key for key in json.loads(text) if f"@{key}" not in text}
    # MONAI asks for output_dir by name when it tracks an experiment.
    run_ids = {"initialize", "training", "evaluating", "inferring", "run", "finalize"}
    assert unused <= {"imports", "output_dir", *run_ids}


def test_training_and_inference_build_the_same_gate() -> None:
    folder = ROOT / "bundles" / "sagnef_5mm_t1c" / "configs"
    gates = []
    for graph in ("train", "inference"):
        parser = ConfigParser(ConfigParser.load_config_file(folder / f"{graph}.json"))
        gates.append(parser.get_parsed_content("architecture"))
    assert gates[0] == gates[1]


def test_cli_checks_lists_and_refuses_unknown_bundles(tmp_path: Path) -> None:
    runner = CliRunner()
    assert f"{len(SOURCES)} bundles are as they should be" in runner.invoke(app, ["check"]).output
    assert "sagnef_7mm_t2w" in runner.invoke(app, ["list"]).output
    result = runner.invoke(app, ["adopt", "sagnef_5mm_t9", str(tmp_path / "none.pt")])
    assert isinstance(result.exception, FileNotFoundError)


def test_cli_builds_and_sees_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    monkeypatch.setattr("revoxel.core.bundles.repository_root", lambda: tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["build"]).output.count("built bundles/") == len(SOURCES)
    (tmp_path / "bundles" / NAMES[0] / "LICENSE").unlink()
    problem = runner.invoke(app, ["check"]).exception
    assert f"{NAMES[0]}/LICENSE" in str(problem)
    monkeypatch.setattr("revoxel.core.bundles.repository_root", lambda: None)
    assert "in a checkout" in str(runner.invoke(app, ["build"]).exception)


def _run(run_id: str, graph: str, **overrides: Any) -> None:
    """The documented line in this process: interpreters take long to start."""
    bundle = ROOT / "bundles" / "sagnef_5mm_t1c"
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in overrides.items()}
    settings = {"config_file": str(bundle / "configs" / f"{graph}.json"), "bundle_root": str(bundle), **plain}
    run(run_id=run_id, **settings)


def test_wrong_root_stops_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="error: bundle_root must be a bundle's folder"):
        _run("training", "train", manifest=tmp_path / "none.json", bundle_root=tmp_path)
