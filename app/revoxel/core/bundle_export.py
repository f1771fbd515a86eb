"""Bundles' networks for other runtimes, through MONAI's own exporters."""

from __future__ import annotations

import json
from enum import StrEnum
from pydoc import locate
from typing import TYPE_CHECKING, Any

from revoxel.core.bundle_checks import quiet_monai
from revoxel.core.bundles import WEIGHTS, read_metadata
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from pathlib import Path


class ExportFormat(StrEnum):
    """Format of an exported network; the value is the ending of its file."""

    onnx = "onnx"
    torchscript = "ts"


def export_network(
    folder: Path, target: Path, export_format: ExportFormat, *, overwrite: bool = False
) -> Path:
    """Write a bundle's network with its weights for another runtime.

    Batch and sides are free in both formats; the sides must be multiples of what the metadata says divides
    them. The exported network checks and pads nothing.

    Args:
        folder: the bundle, with weights.
        target: file to write.
        export_format: ONNX (input `image`, output `pred`) or traced TorchScript.
        overwrite: replace a file that exists.

    Returns:
        The target.

    Raises:
        FileExistsError: If the target exists and `overwrite` is off.
        ValueError: If the network's class says by `no_export` why no trace of it would be right.
    """
    _check_exportable(folder)
    with quiet_monai(), atomic_path(target, overwrite=overwrite) as partial:
        if export_format is ExportFormat.onnx:
            _export_onnx(folder, partial)
        else:
            _export_torchscript(folder, partial)
    return target


def _check_exportable(folder: Path) -> None:
    inference = json.loads((folder / "configs" / "inference.json").read_text(encoding="utf-8"))
    reason = getattr(locate(inference["network_def"]["_target_"]), "no_export", "")
    if reason:
        msg = (
            f"{folder.name} must have a network that does the same for every image, got one that {reason}; "
            "leave out --onnx and --torchscript and load the bundle in PyTorch."
        )
        raise ValueError(msg)


def _export_onnx(folder: Path, target: Path) -> None:
    import onnx
    from monai.bundle import onnx_export

    sides = _image_format(folder)["spatial_shape"]
    free_axes = [0, *(2 + axis for axis, side in enumerate(sides) if isinstance(side, str))]
    names = {"input_names": ["image"], "output_names": ["pred"]}
    options = {"dynamic_axes": {"image": free_axes}, "dynamo": True, "verbose": False}
    onnx_export(**_arguments(folder, target), converter_kwargs={**names, **options})
    model = onnx.load(target)
    # The exporter notes source lines of this machine in every node.
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, target)


def _export_torchscript(folder: Path, target: Path) -> None:
    from monai.bundle import ckpt_export

    ckpt_export(**_arguments(folder, target))


def _arguments(folder: Path, target: Path) -> dict[str, Any]:
    return {
        "net_id": "network_def",
        "filepath": str(target),
        "ckpt_file": str(folder / WEIGHTS),
        "meta_file": str(folder / "configs" / "metadata.json"),
        "config_file": str(folder / "configs" / "inference.json"),
        "use_trace": True,
        "input_shape": _example_shape(folder),
    }


def _example_shape(folder: Path) -> list[int]:
    """Batch of two with sides that differ: the exporter takes equal sides for one and the same."""
    image = _image_format(folder)
    sides = image["spatial_shape"]
    lengths = [
        side if isinstance(side, int) else (axis + 1) * int(side.split("*")[0])
        for axis, side in enumerate(sides)
    ]
    return [2, image["num_channels"], *lengths]


def _image_format(folder: Path) -> dict[str, Any]:
    image: dict[str, Any] = read_metadata(folder)["network_data_format"]["inputs"]["image"]
    return image
