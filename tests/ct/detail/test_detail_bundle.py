"""The bundle of the detail network trains, is scored, refines files, and trains in two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run

import ct_studies
from revoxel.core.bundle_checks import check_metadata, check_network, quiet_monai
from revoxel.core.bundles import bundle_folder
from revoxel.core.configuration import read_mapping
from revoxel.core.handlers import read_epoch_log
from revoxel.core.training import default_sections, read_sections, train_network
from revoxel.core.volumes import read_volume
from revoxel.ct.detail.bundle_steps import ViewsBesided, ct_items
from revoxel.ct.detail.lifting import XrayScene
from revoxel.ct.detail.models import load_refiner
from revoxel.ct.scans.results import write_hu
from revoxel.ct.scans.transforms import LoadCTd
from revoxel.ct.xray.geometry import XrayGeometry

NAME = "ct_detail_64"
GEOMETRY = {"kind": "parallel", "size": 16}
SHAPE: dict[str, Any] = {
    "spacing_mm": [ct_studies.SPACING_MM] * 3,
    "geometry": GEOMETRY,
    "arguments": {"hidden": 4, "blocks": 1, "lift_channels": 2},
}
TINY: dict[str, Any] = SHAPE | {
    "fold": "without-p2",
    "epochs": 1,
    "patches_per_epoch": 4,
    "validation_patches": 2,
    "patch_size": 16,
    "batch_size": 2,
}
SCENE = XrayScene((ct_studies.SPACING_MM,) * 3, XrayGeometry(size=16))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ct_studies.write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def trained(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return train_network(NAME, default_sections(NAME), folder, study=str(study), **TINY)


def in_bundle(run_id: str, graph: str, **values: Any) -> None:
    """The documented line in this process: interpreters take long to start."""
    bundle = bundle_folder(NAME)
    settings = {"config_file": str(bundle / "configs" / f"{graph}.json"), "bundle_root": str(bundle)}
    with quiet_monai():
        run(run_id=run_id, **settings, **values)


def test_bundle_says_what_its_network_takes_and_gives() -> None:
    folder = bundle_folder(NAME)
    check_metadata(folder)
    check_network(folder)


@pytest.mark.slow
def test_training_logs_coarse_and_refined_psnr_and_refuses_other_settings(trained: Path, study: Path) -> None:
    log = read_epoch_log(trained / "training_log.csv")
    assert [row["epoch"] for row in log] == ["1"]
    with pytest.raises(SystemExit, match="epochs: began with 1, got 2"):
        train_network(NAME, default_sections(NAME), trained, study=str(study), **(TINY | {"epochs": 2}))
    assert {"val_coarse_psnr_db", "val_refined_psnr_db", "train_frequency", "val_total"} <= set(log[0])
    refiner = load_refiner(trained)
    assert refiner.scene == SCENE
    assert refiner.record["training"]["base"]["kind"] == "oracle"


@pytest.mark.slow
def test_evaluating_scores_the_patient_left_out_beside_baselines(
    trained: Path, study: Path, tmp_path: Path
) -> None:
    values = {"spacing_mm": SHAPE["spacing_mm"], "geometry": GEOMETRY, "patch_size": 16}
    in_bundle(
        "evaluating",
        "evaluate",
        ckpt_path=str(trained),
        study=str(study),
        fold="without-p2",
        out_root=str(tmp_path / "scores"),
        **values,
    )
    figures = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert list(figures) == ["p2"]
    rows = figures["p2"]
    assert {"coarse", "unsharp, fixed on the others", "network", "network, no views"} <= set(rows)
    assert rows["coarse"]["gain_db"] == 0
    best, fixed = (rows[f"unsharp, {kind}"] for kind in ("best for this patient", "fixed on the others"))
    assert best["rmse_hu"] <= fixed["rmse_hu"] + 0.1


@pytest.mark.slow
def test_inferring_writes_whole_hu_on_the_grid_of_the_input(trained: Path, tmp_path: Path) -> None:
    where = ct_studies.grid(16)
    write_hu(tmp_path / "in" / "chest.nii.gz", ct_studies.chest(size=16), where)
    in_bundle(
        "inferring",
        "inference",
        ckpt_path=str(trained),
        dataset_dir=str(tmp_path / "in"),
        out_root=str(tmp_path),
        **SHAPE,
    )
    written = tmp_path / "refined" / "chest_refined.nii.gz"
    assert nib.load(written).get_data_dtype() == np.int16
    refined = read_volume(written)
    assert np.allclose(refined.grid.affine, where.affine)
    assert np.abs(refined.data - ct_studies.chest(size=16)).mean() < 200


@pytest.mark.slow
def test_two_processes_train_one_network(study: Path, tmp_path: Path) -> None:
    bundle = bundle_folder(NAME)
    values = tmp_path / "values.json"
    values.write_text(json.dumps(TINY | {"study": str(study), "out_root": str(tmp_path), "batch_size": 1}))
    files = [bundle / "configs" / name for name in ("train.json", "multi_gpu_train.json")]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *("-m", "monai.bundle", "run", "training"),
        *("--config_file", str([str(path) for path in (*files, values)])),
        *("--bundle_root", str(bundle)),
    ]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    log = read_epoch_log(tmp_path / NAME / "training_log.csv")
    assert len(log) == 1
    load_refiner(tmp_path / NAME)


def test_configuration_of_the_source_fits_the_bundle_and_has_its_values() -> None:
    path = Path(__file__).resolve().parents[3] / "configs" / "ct" / "detail.yaml"
    sections = read_sections(path, NAME)
    assert sections["network"]["arguments"]["hidden"] == 64
    train, loss = sections["train"], sections["loss"]
    assert (train["batch_size"], train["epochs"], train["lr"]) == (4, 40, 5e-5)
    parts = ("l1", "frequency", "gradient", "local_statistics", "consistency")
    assert [loss[part] for part in parts] == [1.0, 0.5, 0.3, 0.2, 0.1]
    assert {"kind", "checkpoint", "sha256"} <= set(read_mapping(path)["base"])


def test_ct_without_views_gets_zeros_and_other_voxels_are_refused(tmp_path: Path) -> None:
    write_hu(tmp_path / "a.nii.gz", ct_studies.chest(size=16), ct_studies.grid(16))
    item = LoadCTd("image")(ct_items(tmp_path)[0])
    assert torch.equal(ViewsBesided("image", SCENE)(item)["views"], torch.zeros(2, 1, 16, 16))
    with pytest.raises(ValueError, match=r"must have voxels of \(3\.0, 3\.0, 3\.0\) mm"):
        ViewsBesided("image", XrayScene((3.0, 3.0, 3.0)))(item)
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit, match="dataset_dir must hold NIfTI files"):
        ct_items(tmp_path / "none")
