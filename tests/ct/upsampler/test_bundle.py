"""MONAI's own tools on the upsampler's bundle: load, verify, train, evaluate, infer, in HU and in place."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import create_workflow, load, run, verify_metadata, verify_net_in_out

from ct_study import write_ct_study
from revoxel.core.bundles import METADATA, WEIGHTS, bundle_folder, configs_root
from revoxel.core.checkpoints import best_checkpoint, load_checkpoint, save_weights
from revoxel.ct.consistency import consistency_error_hu
from revoxel.ct.upsampler.models import build_upsampler, upsampler_protocol

NAME = "ct_upsampler_64_256"
SHIPPED = {"head": "coarse", "attention": False}
WINDOW = {"low_hu": -1024.0, "high_hu": 1476.0}
TINY = {
    "budget_s": 0,
    "epochs": 1,
    "patch_size": 16,
    "patches_per_epoch": 2,
    "validation_patches": 1,
    "val_interval": 1,
    "batch_size": 1,
    "amp_dtype": "float32",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_ct_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Copy of the bundle with weights of chance."""
    folder = tmp_path_factory.mktemp("bundles") / NAME
    shutil.copytree(bundle_folder(NAME), folder)
    (folder / WEIGHTS).unlink(missing_ok=True)
    torch.manual_seed(0)
    network = build_upsampler(SHIPPED)
    torch.nn.init.normal_(network.tails[0].conv_block.weight, std=0.01)
    save_weights(folder / WEIGHTS, network.state_dict(), upsampler_protocol(SHIPPED, WINDOW, 1.5))
    return folder


def run_graph(bundle, run_id, graph, **values):
    config = str(bundle / "configs" / f"{graph}.json")
    run(run_id=run_id, config_file=config, bundle_root=str(bundle), **values)


def test_load_gives_the_weights_by_its_defaults(bundle):
    saved = load_checkpoint(bundle / WEIGHTS).states["model"]
    for kind in ("train", "inference"):
        network = load(NAME, bundle_dir=str(bundle.parent), workflow_type=kind, device="cpu")
        assert all(torch.equal(saved[key], value) for key, value in network.state_dict().items())


def test_workflows_have_every_property(bundle, study, tmp_path):
    for graph, kind in (("train", "train"), ("inference", "infer")):
        config = str(bundle / "configs" / f"{graph}.json")
        given = {"study": str(study)} if graph == "train" else {}
        workflow = create_workflow(
            config_file=config, workflow_type=kind, logging_file=False, out_root=str(tmp_path), **given
        )
        assert workflow.check_properties() == []


def test_metadata_and_network_are_verified(bundle, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text((configs_root() / "metadata_schema.json").read_text())
    meta, graph = str(bundle / METADATA), str(bundle / "configs" / "inference.json")
    verify_metadata(meta_file=meta, filepath=str(schema))
    verify_net_in_out(net_id="network_def", device="cpu", meta_file=meta, config_file=graph)


@pytest.mark.slow
def test_training_runs(bundle, study, tmp_path):
    run_graph(
        bundle, "training", "train", study=str(study), fold="without-p1", out_root=str(tmp_path), **TINY
    )
    record = load_checkpoint(best_checkpoint(tmp_path / NAME)).protocol
    assert record["training"]["patients"] == ["p0"]


@pytest.mark.slow
def test_evaluating_scores_beside_the_baselines(bundle, study, tmp_path):
    run_graph(bundle, "evaluating", "evaluate", study=str(study), fold="without-p1", out_root=str(tmp_path))
    (rows,) = json.loads((tmp_path / "metrics.json").read_text()).values()
    assert {"trilinear", "trilinear+projection", "network", "network+projection"} <= set(rows)
    assert rows["network+projection"]["consistency_max_hu"] <= 0.5


@pytest.mark.slow
def test_inferring_writes_whole_hu_where_the_scan_lies(bundle, study, tmp_path):
    run_graph(
        bundle, "inferring", "inference", dataset_dir=str(study.parent / "coarse"), out_root=str(tmp_path)
    )
    coarse = nib.load(study.parent / "coarse" / "p0.nii.gz")
    fine = nib.load(tmp_path / "refined" / "p0_refined.nii.gz")
    assert fine.get_data_dtype() == np.int16
    volumes = [torch.from_numpy(np.asarray(i.dataobj, dtype=np.float32))[None, None] for i in (fine, coarse)]
    assert consistency_error_hu(*volumes)[1] <= 0.5
    # Corners of both volumes coincide: voxel -1/2 of each is one place.
    corner = np.array([-0.5, -0.5, -0.5, 1.0])
    np.testing.assert_allclose(fine.affine @ corner, coarse.affine @ corner, atol=0.01)
    np.testing.assert_allclose(np.abs(np.diag(fine.affine))[:3], 1.5, atol=1e-5)


def test_a_folder_without_scans_stops_with_one_line(bundle, tmp_path):
    with pytest.raises(SystemExit, match="dataset_dir must hold NIfTI files"):
        run_graph(bundle, "inferring", "inference", dataset_dir=str(tmp_path), out_root=str(tmp_path))
