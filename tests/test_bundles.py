"""The committed bundles: equal to their sources, complete for MONAI, and one of them run for real."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, run, verify_metadata, verify_net_in_out
from typer.testing import CliRunner

import tiny_study
from revoxel.cli.bundles import app
from revoxel.core.bundles import build_bundle, bundle_sources, check_bundle
from revoxel.core.pulses import Pulse, Spacing

ROOT = Path(__file__).resolve().parents[1]
NAMES = [f"sagnef_{spacing}_{pulse}" for spacing in Spacing for pulse in Pulse]
SOURCES = {source.name: source for source in bundle_sources(ROOT / "configs")}
TINY = {"wf": 8, "patch_size": "[32,32,32]", "patches_per_volume": 2, "validation_patches": 2}


@pytest.fixture(autouse=True)
def quiet_logging() -> Iterator[None]:
    """A bundle's logging.conf replaces the handlers of the root logger."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_sources_and_bundles_are_the_twelve() -> None:
    assert sorted(SOURCES) == sorted(NAMES)
    assert sorted(path.name for path in (ROOT / "bundles").iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_bundle_equals_its_sources(name: str) -> None:
    assert check_bundle(SOURCES[name], ROOT / "bundles" / name, ROOT / "LICENSE") == []


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("name", NAMES)
def test_bundle_has_every_property_that_monai_asks_for(name: str, manifest: Path, tmp_path: Path) -> None:
    folder = ROOT / "bundles" / name / "configs"
    # MONAI builds every part to see whether it is there, so each bundle is given cases.
    given = {"manifest": str(manifest), "spacing": "5mm", "pulse": "t1c", "out_root": str(tmp_path)}
    for graph, kind in (("train", "train"), ("evaluate", "infer"), ("inference", "infer")):
        path = str(folder / f"{graph}.json")
        workflow = ConfigWorkflow(path, workflow_type=kind, logging_file=False, **given)
        workflow.initialize()
        assert workflow.check_properties() == []


@pytest.mark.parametrize("name", NAMES)
def test_metadata_fits_the_schema_and_the_network(name: str) -> None:
    metadata = json.loads((ROOT / "bundles" / name / "configs" / "metadata.json").read_text())
    schema = json.loads((ROOT / "configs" / "metadata_schema.json").read_text())
    jsonschema.validate(metadata, schema)
    formats = metadata["network_data_format"]
    for tensor in (formats["inputs"]["image"], formats["outputs"]["pred"]):
        assert len(tensor["channel_def"]) == tensor["num_channels"]
    spacing, pulse = name.split("_")[1:]
    assert metadata["name"] == f"SAGNEF {spacing} {pulse}"


def test_monai_verifies_metadata_with_the_schema_of_the_repository(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text((ROOT / "configs" / "metadata_schema.json").read_text())
    metadata = ROOT / "bundles" / NAMES[0] / "configs" / "metadata.json"
    verify_metadata(meta_file=str(metadata), filepath=str(schema))


@pytest.mark.parametrize("name", NAMES)
def test_network_fits_its_metadata(name: str) -> None:
    folder = ROOT / "bundles" / name / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(folder / "metadata.json"),
        config_file=str(folder / "inference.json"),
        device="cpu",
        wf=8,
    )


@pytest.mark.parametrize("name", NAMES)
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
    assert "12 bundles are as they should be" in runner.invoke(app, ["check"]).output
    assert "sagnef_7mm_t2w" in runner.invoke(app, ["list"]).output
    result = runner.invoke(app, ["adopt", "sagnef_5mm_t9", str(tmp_path / "none.pt")])
    assert isinstance(result.exception, FileNotFoundError)


def test_cli_builds_and_sees_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    monkeypatch.setattr("revoxel.core.bundles.repository_root", lambda: tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["build"]).output.count("built bundles/") == len(NAMES)
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
