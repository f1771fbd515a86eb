"""One visit in the network's cube: the one way for training, encoding and evaluation alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import NormalizeIntensityd, Orientationd

from revoxel.core.geometry import Grid
from revoxel.core.meta_images import grid_of, image_on
from revoxel.core.pulses import Pulse
from revoxel.semivae.features.transforms import CheckAlignmentd
from revoxel.semivae.scans.transforms import PULSES, LoadVolumed, StackPulsesd, TissueSharesd, ToCubed

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import ArrayLike, NDArray

    from revoxel.semivae.features.resampled import NetworkGrid

_LEAST_KEPT = 0.99
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class ScanCube:
    """What the network sees of one visit; S voxels along every side.

    Attributes:
        image: `(4, S, S, S)` float32 z-scores in the order of `Pulse`; air and absent pulses are 0.
        brain: `(S, S, S)` float32, share of brain in every voxel.
        tumour: `(S, S, S)` float32, share of tumour in every voxel; `None` without a label map.
        available: `(4,)` bool, which pulses there are.
        affine: `(4, 4)` float64, voxel index to RAS millimetres.
        brain_kept: Share of the scan's brain that lies in the cube.
    """

    image: torch.Tensor
    brain: torch.Tensor
    tumour: torch.Tensor | None
    available: torch.Tensor
    affine: NDArray[np.float64]
    brain_kept: float


def cube_of(images: Mapping[Pulse, Path], label: Path | None, grid: NetworkGrid) -> ScanCube:
    """Bring the files of one visit into the network's cube.

    Args:
        images: File by pulse; at least one, skull-stripped, air 0.
        label: Label map on the same grid, if there is one.
        grid: The cube.

    Returns:
        The cube.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If there is no pulse, a file is no volume, files lie on different grids, labels are
            unknown, or the tumour does not fit into the cube.
    """
    item: dict[Hashable, Any] = {Pulse(pulse).value: path for pulse, path in images.items()}
    if label is not None:
        item["label"] = label
    # Step by step: MONAI's Compose would hide what is wrong behind a RuntimeError.
    loaded = LoadVolumed((*PULSES, "label"), allow_missing_keys=True)(item)
    if label is not None:
        loaded = CheckAlignmentd(PULSES, "label", allow_missing_keys=True)(loaded)
    loaded = StackPulsesd()(loaded)
    image, labels = loaded["image"], loaded.get("label")
    return cube_from(image, None if labels is None else labels[0], image.affine, grid)


def cube_from(
    image: torch.Tensor, label: torch.Tensor | None, affine: ArrayLike, grid: NetworkGrid
) -> ScanCube:
    """Bring one visit in memory into the network's cube, as `cube_of` does with files.

    Args:
        image: `(4, i, j, k)` in the order of `Pulse`; an absent pulse is all 0.
        label: `(i, j, k)` on the same grid, if there is one.
        affine: `(4, 4)` of both, voxel index to RAS millimetres.
        grid: The cube.

    Returns:
        The cube.

    Raises:
        ValueError: If the shapes are others, all pulses are empty, or the tumour does not fit into the cube.
    """
    values = np.asarray(image, dtype=np.float32)
    available = values.reshape(len(values), -1).any(axis=1)
    if values.ndim != 4 or len(values) != len(PULSES) or not available.any():
        msg = f"image must be (4, i, j, k) with a channel that is not empty, got shape {values.shape} and "
        msg += f"{available.sum()} filled channels; give at least one of {', '.join(PULSES)}."
        raise ValueError(msg)
    source = Grid((values.shape[1], values.shape[2], values.shape[3]), np.asarray(affine, dtype=np.float64))
    item = {"image": image_on(values, source)}
    if label is not None:
        item["label"] = image_on(_fitting(np.asarray(label), source)[None], source)
    # Axes along those of the cube, wherever the scanner put them: resampling is then separable.
    item = Orientationd(tuple(item), axcodes="RAS", labels=_ENDS)(item)
    marked = NormalizeIntensityd("image", nonzero=True, channel_wise=True)(TissueSharesd()(item))
    cube = ToCubed(("image", "brain", "tumour"), grid, allow_missing_keys=True)(marked)
    tumour_kept = _share_inside(item["label"], grid) if label is not None else 1.0
    if tumour_kept < _LEAST_KEPT:
        msg = f"the tumour must lie inside the cube of {grid.size} voxels of {grid.voxel_mm:g} mm, got "
        msg += f"{tumour_kept:.0%} of it in there; crop the scan around the brain or take a larger cube."
        raise ValueError(msg)
    return ScanCube(
        image=cube["image"].as_tensor(),
        brain=cube["brain"].as_tensor()[0],
        tumour=cube["tumour"].as_tensor()[0] if label is not None else None,
        available=torch.from_numpy(available),
        affine=np.asarray(cube["image"].affine, dtype=np.float64),
        brain_kept=_share_inside(marked["brain"], grid),
    )


def _fitting(label: NDArray[Any], source: Grid) -> NDArray[Any]:
    if label.shape != source.shape:
        msg = f"label must have the image's shape {source.shape}, got {label.shape}; resample it first."
        raise ValueError(msg)
    return label


def _share_inside(mask: MetaTensor, grid: NetworkGrid) -> float:
    """Share of a mask's voxels whose centres lie in the cube; 1 of an empty mask."""
    source = grid_of(mask)
    voxels = np.argwhere(np.asarray(mask[0]))
    if not len(voxels):
        return 1.0
    target = grid.around(source)
    places = (source.world(voxels) - target.affine[:3, 3]) / grid.voxel_mm
    return float(((places > -0.5) & (places < grid.size - 0.5)).all(axis=1).mean())
