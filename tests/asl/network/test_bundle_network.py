"""The ASL bundles: MONAI's checks, the three runs, weights that are adopted and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import create_workflow, run, verify_metadata, verify_net_in_out
from typer.testing import CliRunner

from asl_runs import TINY, train_tiny
from revoxel.asl.learning.configuration import default_sections, join_networks
from revoxel.asl.learning.slice_bank import SliceRecipe
from revoxel.asl.network.bundle_network import MAPS, AslBundleNet
from revoxel.asl.network.channels import AslChannels
from revoxel.asl.network.models import adopt_checkpoint, load_asl_model
from revoxel.asl.simulation.phantom import PhantomConfig
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL
from revoxel.cli.bundles import app
from revoxel.core.bundle_checks import check_fit, check_metadata, wanted_protocol
from revoxel.core.bundle_export import ExportFormat, export_network
from revoxel.core.bundles import METADATA, WEIGHTS, bundle_folder, bundles_root, configs_root

NAMES = ["asl_cbf_att", "asl_cbf_att_any"]
CONFIGS = configs_root() / "asl"


@pytest.fixture(params=NAMES)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / str(request.param)
    shutil.copytree(bundles_root() / str(request.param), folder)
    return folder


def _graph(bundle: Path, graph: str) -> dict[str, str]:
    return {"config_file": str(bundle / "configs" / f"{graph}.json"), "bundle_root": str(bundle)}


def test_monai_finds_metadata_network_and_properties_as_they_should_be(bundle: Path, tmp_path: Path) -> None:
    metadata = str(bundle / METADATA)
    verify_metadata(metadata, filepath=str(configs_root() / "metadata_schema.json"))
    verify_net_in_out(
        "network_def", meta_file=metadata, config_file=str(bundle / "configs" / "inference.json")
    )
    for graph, kind in (("train", "train"), ("inference", "infer")):
        workflow = create_workflow(workflow_type=kind, out_root=str(tmp_path), **_graph(bundle, graph))
        workflow.initialize()
        assert workflow.check_properties() == []
    check_metadata(bundle)
    check_fit(bundle, need_weights=False)


def test_shipped_weights_are_small_and_calibrated() -> None:
    for name in NAMES:
        path = bundles_root() / name / WEIGHTS
        if not path.is_file():
            pytest.skip(f"{name} has no weights yet")
        assert path.stat().st_size < 5_000_000
        model = load_asl_model(path)
        assert model.network.sd_factors.factors.tolist() != [1.0, 1.0]
        assert model.any_protocol is name.endswith("_any")


def _slices(n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    recipe = SliceRecipe(phantom=PhantomConfig(size=32))
    scans = [recipe.draw(np.random.default_rng(seed))[0] for seed in range(n)]
    images = torch.stack([torch.from_numpy(scan.dm.copy()) for scan in scans])
    return images, torch.stack([torch.from_numpy(scan.phantom.mask) for scan in scans])


def test_bundle_network_fits_inside_and_leaves_the_outside_empty() -> None:
    images, mask = _slices()
    arguments = {"in_channels": 12, "features": [8, 16], "pooling": 0}
    network = AslBundleNet("AmplitudeAwareSpatialASLNet", arguments, JOINT_PROTOCOL).eval()
    maps = network(images)
    assert maps.shape == (2, len(MAPS), 32, 32)
    assert bool((maps[:, :, ~mask[0]][0] == 0).all())
    assert 20 < float(maps[0, 0][mask[0]].median()) < 70
    assert bool((network(torch.zeros_like(images)) == 0).all())
    assert not any(name.startswith("core.") for name in network.state_dict())
    network.load_state_dict(network.state_dict())
    with pytest.raises(ValueError, match=r"x must be \(batch, 12"):
        network(images[:, :4])


def test_the_fit_inside_keeps_its_digits_under_autocast() -> None:
    images, _ = _slices(1)
    arguments = {"in_channels": 12, "features": [8, 16], "pooling": 0}
    network = AslBundleNet("AmplitudeAwareSpatialASLNet", arguments, JOINT_PROTOCOL).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(images)
    torch.testing.assert_close(half, network(images))


def test_bundle_network_is_the_network_with_its_input() -> None:
    from revoxel.asl.network.inputs import SliceData, network_input

    images, mask = _slices(1)
    network = AslBundleNet(
        "SpatialASLNet", {"in_channels": 12, "features": [8, 16]}, JOINT_PROTOCOL, sigma=6e-4
    )
    image = network_input(
        SliceData(images, mask, torch.tensor([6e-4])), JOINT_PROTOCOL, channels=AslChannels(12)
    )
    expected = network.eval().core(image)["att"] * mask[:, None]
    torch.testing.assert_close(network(images)[:, 1:2], expected)


KEYS = yaml.safe_load((CONFIGS / "model_configuration_keys.yaml").read_text())


@pytest.mark.parametrize("export_format", ExportFormat)
def test_network_that_fits_inside_is_not_exported(export_format: ExportFormat, tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(ValueError, match="fit inside; leave out --onnx"):
        export_network(bundle_folder("asl_cbf_att"), target, export_format)
    assert not target.exists()


def test_table_and_model_configuration_have_the_same_keys() -> None:
    sections = default_sections()
    assert {f"{name}.{key}" for name, section in sections.items() for key in section} == set(KEYS)


@pytest.mark.parametrize("graph", ["train", "evaluate", "inference"])
def test_every_top_level_value_of_a_graph_is_used_or_run(graph: str) -> None:
    text = (bundles_root() / NAMES[0] / "configs" / f"{graph}.json").read_text()
    unused = {key for key in json.loads(text) if f"@{key}" not in text}
    run_ids = {"training", "evaluating", "inferring", "run", "finalize"}
    assert unused <= {"imports", "output_dir", "dataset_dir", *run_ids}


@pytest.mark.slow
def test_the_three_runs_of_a_bundle(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(run_id="training", out_root=str(out), run_name="tiny", **_graph(bundle, "train"), **TINY)
    members = wanted_protocol(bundle).get("members", 1)
    if members > 1:
        join_networks(default_sections(), [out / "tiny"] * members, out / "joined", **TINY)
    trained = out / ("joined" if members > 1 else "tiny")
    target = adopt_checkpoint(bundle.name, trained, overwrite=True, root=bundle.parent)
    assert target == bundle / WEIGHTS
    check_fit(bundle)
    run(
        run_id="evaluating",
        out_root=str(out),
        n_phantoms=2,
        phantom_size=32,
        snrs=[10],
        **_graph(bundle, "evaluate"),
    )
    scores = json.loads((out / "metrics.json").read_text())["10"]
    assert scores["network"]["valid_fraction"] == 1.0
    images, _ = _slices(3)
    folder = tmp_path / "scans"
    folder.mkdir()
    volume = images.permute(2, 3, 0, 1).numpy()
    nib.save(nib.Nifti1Image(volume, np.diag([3.0, 3.0, 5.0, 1.0])), folder / "head.nii.gz")
    run(run_id="inferring", out_root=str(out), dataset_dir=str(folder), **_graph(bundle, "inference"))
    (written,) = (out / "maps").glob("*.nii.gz")
    maps: Any = nib.load(written)
    assert maps.shape == (32, 32, 3, 4)
    assert np.allclose(maps.header.get_zooms()[:3], (3, 3, 5))
    assert np.isfinite(maps.get_fdata()).all()


@pytest.mark.slow
def test_weights_of_another_form_are_not_adopted(tmp_path: Path) -> None:
    bundle = tmp_path / NAMES[0]
    shutil.copytree(bundles_root() / NAMES[0], bundle)
    (bundle / WEIGHTS).unlink(missing_ok=True)
    path = train_tiny(tmp_path / "run", "SpatialASLNet")
    with pytest.raises(ValueError, match="wanted 'AmplitudeAwareSpatialASLNet', got 'SpatialASLNet'"):
        adopt_checkpoint(bundle.name, path, root=tmp_path)
    (bundle / WEIGHTS).touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        adopt_checkpoint(bundle.name, path, root=tmp_path)


def test_the_command_line_adopts_for_both_systems(tmp_path: Path) -> None:
    for name in ("asl_cbf_att", "sagnef_5mm_t1c"):
        result = CliRunner().invoke(app, ["adopt", name, str(tmp_path / "none.pt"), "--overwrite"])
        assert isinstance(result.exception, FileNotFoundError)
        assert "none.pt" in str(result.exception)
