"""MONAI's own tools on all twelve bundles, and on zips unpacked where there is no checkout."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import (
    ckpt_export,
    create_workflow,
    load,
    onnx_export,
    run,
    verify_metadata,
    verify_net_in_out,
)

import tiny_study
import weighted_bundle
from revoxel.core.bundle_zip import pack_bundle
from revoxel.core.bundles import METADATA, WEIGHTS, configs_root
from revoxel.core.checkpoints import load_checkpoint
from revoxel.core.pulses import Pulse, Spacing

NAMES = [f"sagnef_{spacing}_{pulse}" for spacing in Spacing for pulse in Pulse]
SCHEMA = configs_root() / "metadata_schema.json"
TINY = {"epochs": 1, "wf": 8, "patch_size": [32, 32, 32], "patches_per_volume": 1, "validation_patches": 1}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_study.write_study(tmp_path_factory.mktemp("study"), side=35)


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of a bundle with its weights, or random ones as long as it has none."""
    return weighted_bundle.copy_bundle(request.param, tmp_path_factory.mktemp("bundles"))


def manifest_for(bundle: Path, study: Path) -> Path:
    """The study's manifest under the bundle's spacing and pulse."""
    _, spacing, pulse = bundle.name.split("_")
    content = json.loads(study.read_text())
    content["cases"] = [{**case, "spacing": spacing, "pulse": pulse} for case in content["cases"]]
    path = study.with_name(f"{bundle.name}.json")
    path.write_text(json.dumps(content))
    return path


def files_of(bundle: Path, graph: str = "inference") -> dict[str, str]:
    return {"meta_file": str(bundle / METADATA), "config_file": str(bundle / "configs" / f"{graph}.json")}


def run_graph(bundle: Path, run_id: str, graph: str, **values: Any) -> None:
    config = str(bundle / "configs" / f"{graph}.json")
    run(run_id=run_id, config_file=config, bundle_root=str(bundle), **values)


def test_load_gives_the_weights_by_its_defaults(bundle: Path) -> None:
    saved = load_checkpoint(bundle / WEIGHTS).states["model"]
    for kind in ("train", "inference"):
        network = load(bundle.name, bundle_dir=str(bundle.parent), workflow_type=kind, device="cpu")
        found = network.state_dict()
        assert found.keys() == saved.keys()
        assert all(torch.equal(saved[key], found[key]) for key in saved)


def test_workflows_have_every_property(bundle: Path, study: Path, tmp_path: Path) -> None:
    given = {"manifest": str(manifest_for(bundle, study)), "out_root": str(tmp_path)}
    for graph, kind in (("train", "train"), ("evaluate", "infer"), ("inference", "infer")):
        config = str(bundle / "configs" / f"{graph}.json")
        workflow = create_workflow(config_file=config, workflow_type=kind, logging_file=False, **given)
        assert workflow.check_properties() == []


def test_metadata_and_network_are_verified(bundle: Path, tmp_path: Path) -> None:
    # MONAI downloads nothing where the schema's file is there.
    schema = tmp_path / "schema.json"
    schema.write_text(SCHEMA.read_text())
    verify_metadata(meta_file=str(bundle / METADATA), filepath=str(schema))
    verify_net_in_out(net_id="network_def", device="cpu", **files_of(bundle))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_exports_give_the_same_picture(bundle: Path, tmp_path: Path) -> None:
    weights = {"ckpt_file": str(bundle / WEIGHTS), **files_of(bundle)}
    ckpt_export(net_id="network_def", filepath=str(tmp_path / "model.ts"), use_trace=True, **weights)
    onnx_export(net_id="network_def", filepath=str(tmp_path / "model.onnx"), **weights)
    x = torch.rand(1, 8, 16, 16, 16)
    network = load(bundle.name, bundle_dir=str(bundle.parent), workflow_type="inference", device="cpu")
    with torch.no_grad():
        picture = network.eval()(x).numpy()
        traced = torch.jit.load(tmp_path / "model.ts")(x).numpy()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(traced, picture, rtol=0, atol=1e-4)
    np.testing.assert_allclose(exported, picture, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_training_evaluating_and_inferring_run(bundle: Path, study: Path, tmp_path: Path) -> None:
    given = {"manifest": str(manifest_for(bundle, study)), "out_root": str(tmp_path), "amp_dtype": "float32"}
    run_graph(bundle, "training", "train", fold="fold0", **given, **TINY)
    run_graph(bundle, "evaluating", "evaluate", fold="fold0", **given)
    run_graph(bundle, "inferring", "inference", **given)
    _, spacing, pulse = bundle.name.split("_")
    assert list((tmp_path / spacing / "model_data" / pulse / "fold0").glob("model_epoch001_val*.pt"))
    check_volumes(tmp_path / spacing / "output_volumes", pulse, study.parent)
    assert list(tmp_path.rglob("test_report.json"))


def check_volumes(folder: Path, pulse: str, study: Path) -> None:
    """Every fused voxel must lie within a spread of its experts, and the weights sum to one."""
    for subject in ("p0", "p1", "p2", "p3"):
        fused = nib.load(folder / f"{subject}-{pulse}.nii.gz").get_fdata()
        weights = nib.load(folder / f"{subject}-{pulse}_weights.nii.gz").get_fdata()
        experts = [nib.load(study / f"{subject}_SR-{name}.nii.gz").get_fdata() for name in tiny_study.BLURS]
        low, high = np.min(experts, axis=0), np.max(experts, axis=0)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-4)
        assert ((fused >= 2 * low - high - 0.01) & (fused <= 2 * high - low + 0.01)).all()


def test_inference_with_weights_of_another_architecture_stops_with_one_line(
    study: Path, tmp_path: Path
) -> None:
    bundle = weighted_bundle.copy_bundle("sagnef_5mm_t1c", tmp_path, wf=8)
    weighted_bundle.give_random_weights(bundle, wf=16)
    with pytest.raises(SystemExit, match=r"error: .*architecture: wanted .* got [^\n]*$"):
        run_graph(bundle, "inferring", "inference", manifest=str(study), out_root=str(tmp_path))


# Each line is one call of `python -m monai.bundle`; one interpreter runs them all: it takes long to start.
LINES = """
import runpy, sys
for line in {lines!r}:
    sys.argv = ["monai.bundle", *line]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


def card_lines(bundle: Path) -> list[list[str]]:
    """The command lines of a model card as a shell passes them on, made small."""
    card = (bundle / "docs" / "README.md").read_text()
    text = "".join(re.findall(r"```bash\n(.*?)```", card, flags=re.DOTALL)).replace("\\\n", " ")
    lines = [shlex.split(line)[3:] for line in text.splitlines()]
    tiny = [part for key, value in TINY.items() for part in (f"--{key}", str(value).replace(" ", ""))]
    return [line + (tiny if "training" in line else []) for line in lines]


def verifying_lines(name: str) -> list[list[str]]:
    configs = f"bundles/{name}/configs"
    metadata = ["--meta_file", f"{configs}/metadata.json"]
    network = ["--config_file", f"{configs}/inference.json", "--device", "cpu"]
    return [
        ["verify_metadata", *metadata, "--filepath", "schema.json"],
        ["verify_net_in_out", "network_def", *metadata, *network],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sagnef_3mm_t2f", "sagnef_5mm_t1c", "sagnef_7mm_t1n"])
def test_unpacked_zip_answers_every_line_of_its_card(name: str, study: Path, tmp_path: Path) -> None:
    bundle = weighted_bundle.copy_bundle(name, tmp_path / "packed")
    elsewhere = tmp_path / "elsewhere"
    with ZipFile(pack_bundle(bundle, tmp_path)) as archive:
        archive.extractall(elsewhere / "bundles")
    (elsewhere / "schema.json").write_text(SCHEMA.read_text())
    shutil.copytree(study.parent, elsewhere / "study")
    manifest_for(bundle, elsewhere / "study" / study.name).rename(elsewhere / "study" / "manifest.json")
    lines = card_lines(bundle) + verifying_lines(name)
    assert [line[0] for line in lines[:5]] == ["run", "run", "run", "onnx_export", "ckpt_export"]
    command = [sys.executable, "-W", "ignore", "-c", LINES.format(lines=lines)]
    answer = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=600, check=False)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    _, spacing, pulse = name.split("_")
    check_volumes(elsewhere / "output" / spacing / "output_volumes", pulse, study.parent)
    assert (elsewhere / "model.ts").is_file()
    session = onnxruntime.InferenceSession(elsewhere / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].name == "pred"
