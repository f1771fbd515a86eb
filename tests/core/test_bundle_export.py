"""Exported networks give the picture of the network that they came from, whatever the shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from monai.bundle import load
from torch import Tensor, nn

import weighted_bundle
from revoxel.core.bundle_export import ExportFormat, export_network
from revoxel.core.bundles import bundles_root

SHAPES = [(1, 8, 32, 32, 32), (2, 8, 8, 20, 36)]
NAME = "sagnef_5mm_t1c"


def _bundle(folder: Path, values: dict[str, Any]) -> Path:
    return weighted_bundle.copy_bundle(NAME, folder, **values)


def _network(bundle: Path) -> nn.Module:
    network: nn.Module = load(
        bundle.name, bundle_dir=str(bundle.parent), workflow_type="inference", device="cpu"
    )
    return network.eval()


@torch.no_grad()
def _check(network: nn.Module, exported: Any) -> None:
    for shape in SHAPES:
        x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(exported(x), network(x), rtol=0, atol=1e-4)


# The shipped weights, and forms that a configuration may ask for.
FORMS: dict[str, dict[str, Any]] = {
    "shipped": {},
    "modulated": {"wf": 8, "modulation": True},
    "strict": {"wf": 8, "residual": False, "disagreement": False},
}


@pytest.mark.parametrize("form", ["shipped", "modulated"])
def test_onnx_gives_the_same_picture_on_every_shape(form: str, tmp_path: Path) -> None:
    bundle = _bundle(tmp_path, FORMS[form])
    path = export_network(bundle, tmp_path / "model.onnx", ExportFormat.onnx)
    onnx.checker.check_model(str(path))
    assert str(bundles_root().parent).encode() not in path.read_bytes(), "paths of the exporting machine"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def exported(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["pred"], {"image": x.numpy()})[0])

    _check(_network(bundle), exported)


@pytest.mark.parametrize("form", FORMS)
def test_torchscript_gives_the_same_picture_on_every_shape(form: str, tmp_path: Path) -> None:
    bundle = _bundle(tmp_path, FORMS[form])
    path = export_network(bundle, tmp_path / "model.ts", ExportFormat.torchscript)
    _check(_network(bundle), torch.jit.load(path))


def test_existing_export_is_kept(tmp_path: Path) -> None:
    (tmp_path / "model.ts").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        export_network(bundles_root() / NAME, tmp_path / "model.ts", ExportFormat.torchscript)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ts"]
