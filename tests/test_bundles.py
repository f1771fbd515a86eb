"""The committed bundles: equal to their sources, complete for MONAI, and one of them run for real."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, load, run, verify_metadata, verify_net_in_out
from typer.testing import CliRunner

import tiny_study
from revoxel.cli.bundles import app
from revoxel.core.bundles import build_bundle, bundle_sources, check_bundle
from revoxel.core.handlers import read_epoch_log
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.gates import adopt_checkpoint, load_gate

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
    assert "12 bundles equal their sources" in runner.invoke(app, ["check"]).output
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


def _run_line(folder: Path, graphs: Sequence[str], launcher: Sequence[str], **overrides: Any) -> None:
    """The documented line in a shell, with relative paths, from a folder that is not the checkout."""
    bundle = os.path.relpath(ROOT / "bundles" / "sagnef_5mm_t1c", folder)
    configs = [f"{bundle}/configs/{graph}.json" for graph in graphs]
    arguments = {
        "config_file": configs if len(configs) > 1 else configs[0],
        "bundle_root": bundle,
        **overrides,
    }
    flags = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", *launcher, "monai.bundle", "run", "training", *flags]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.fixture(scope="module")
def trained(manifest: Path) -> Path:
    """Folder with a study, trained for two epochs by the documented line and continued for a third."""
    folder = manifest.parent
    _run_line(folder, ["train"], [], manifest=manifest.name, fold="fold0", out_root="out", epochs=2, **TINY)
    tiny = {**TINY, "patch_size": [32, 32, 32]}
    _run("training", "train", manifest=manifest, fold="fold0", out_root=folder / "out", epochs=3, **tiny)
    return folder


def _models(folder: Path) -> Path:
    return folder / "out" / "5mm" / "model_data" / "t1c" / "fold0"


def _trained_gate(folder: Path) -> dict[str, Any]:
    checkpoint = next(_models(folder).glob("model_epoch003*.pt"))
    return {"manifest": folder / "manifest.json", "ckpt_path": checkpoint, "wf": 8, "window": [32, 32, 32]}


@pytest.mark.slow
def test_documented_line_trains_logs_and_continues(trained: Path) -> None:
    rows = read_epoch_log(_models(trained) / "training_log.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    parts = {"total", "mse", "ssim", "tv", "entropy"}
    assert {f"{split}_{part}" for split in ("train", "val") for part in parts} <= set(rows[0])
    assert float(rows[-1]["val_total"]) < float(rows[0]["val_total"])
    assert list((_models(trained) / "tensorboard").rglob("events*"))


@pytest.mark.slow
def test_named_checkpoint_is_a_gate(trained: Path) -> None:
    rows = read_epoch_log(_models(trained) / "training_log.csv")
    path = _models(trained) / f"model_epoch003_val{float(rows[-1]['val_total']):.6f}.pt"
    gate = load_gate(path, pulse=Pulse.t1c, spacing=Spacing.mm5)
    assert gate.window == 32
    assert gate.protocol["intensity"]["percentiles"] == [0.5, 99.5]


@pytest.mark.slow
def test_two_processes_train_one_gate(manifest: Path) -> None:
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    overrides = {"manifest": manifest.name, "out_root": "two", "epochs": 1, **TINY}
    _run_line(manifest.parent, ["train", "multi_gpu_train"], launcher, **overrides)
    models = manifest.parent / "two" / "5mm" / "model_data" / "t1c" / "fold0"
    assert len(read_epoch_log(models / "training_log.csv")) == 1
    load_gate(next(models.glob("model_epoch001*.pt")))


@pytest.mark.slow
def test_monai_loads_the_adopted_network(trained: Path, tmp_path: Path) -> None:
    name = "sagnef_5mm_t1c"
    folder = tmp_path / name
    shutil.copytree(ROOT / "bundles" / name / "configs", folder / "configs")
    for config in (folder / "configs").glob("*.json"):
        config.write_text(config.read_text().replace('"wf": 16', '"wf": 8'))
    path = adopt_checkpoint(name, _models(trained), root=tmp_path)
    saved = torch.load(path, weights_only=True)
    for kind in ("train", "inference"):
        network = load(name, bundle_dir=str(tmp_path), workflow_type=kind)
        assert all(torch.equal(saved[key], value) for key, value in network.state_dict().items())


@pytest.mark.slow
def test_evaluating_scores_every_baseline_on_the_test_patients(trained: Path) -> None:
    _run("evaluating", "evaluate", out_root=trained / "out", **_trained_gate(trained))
    report = json.loads((trained / "out" / "5mm" / "output_volumes" / "test_report.json").read_text())
    assert [case["subject"] for case in report["cases"]] == ["p3"]
    assert report["context"]["fold"] == "fold0"
    for methods in report["cases"][0]["scores"].values():
        assert list(methods) == ["fused", "mean", *tiny_study.BLURS]
        assert methods["fused"]["psnr_db"] > methods["BSPLINE"]["psnr_db"]


@pytest.mark.slow
def test_inferring_writes_volumes_in_the_units_and_axes_of_the_experts(trained: Path) -> None:
    _run("inferring", "inference", out_root=trained / "fused", **_trained_gate(trained))
    for name in ("p0", "p1", "p2", "p3"):
        fused = nib.load(trained / "fused" / "5mm" / "output_volumes" / f"{name}-t1c.nii.gz")
        weights = nib.load(trained / "fused" / "5mm" / "output_volumes" / f"{name}-t1c_weights.nii.gz")
        experts = np.stack(
            [nib.load(trained / f"{name}_SR-{e}.nii.gz").get_fdata() for e in tiny_study.BLURS]
        )
        np.testing.assert_allclose(fused.affine, np.eye(4))
        np.testing.assert_allclose(weights.get_fdata().sum(axis=-1), 1, atol=1e-4)
        spread = experts.max(axis=0) - experts.min(axis=0)
        assert (np.abs(fused.get_fdata() - experts.mean(axis=0)) <= 2 * spread + 0.01).all()


def test_wrong_root_stops_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="error: bundle_root must be a bundle's folder"):
        _run("training", "train", manifest=tmp_path / "none.json", bundle_root=tmp_path)
