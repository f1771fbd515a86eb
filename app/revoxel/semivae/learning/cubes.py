"""Cubes of scans as the network sees them, made once and kept by the hashes of the files they come from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from revoxel.core.checkpoints import save_tensors
from revoxel.semivae.scans.cube import cube_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from revoxel.semivae.features.resampled import NetworkGrid
    from revoxel.semivae.study import TumourScan, TumourStudy

#: Raised whenever the same files would give another cube.
_VERSION = 1
_SHARE = 255


@dataclass(frozen=True)
class CubeFile:
    """One scan's cube on disk.

    Attributes:
        scan: Whose.
        images: Its images by pulse.
        label: Its label map.
        path: Where the cube is kept; another content has another name.
    """

    scan: TumourScan
    images: Mapping[Any, Path]
    label: Path
    path: Path


def cube_files(
    study: TumourStudy,
    scans: Sequence[TumourScan],
    rows: Mapping[str, Mapping[str, Any]],
    grid: NetworkGrid,
    folder: Path,
) -> list[CubeFile]:
    """Where the cubes of some scans are kept.

    Args:
        study: Whose scans.
        scans: Those wanted.
        rows: Row of the feature table by scan: it holds the hashes of the files.
        grid: The network's cube.
        folder: Of all cubes; several runs and studies may share it.
    """
    files = []
    for scan in scans:
        row = rows[scan.scan_id]
        content = [_VERSION, sorted(scan.images), row["sha256"], row["images_sha256"], asdict(grid)]
        name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]
        images = {pulse: study.resolve(path) for pulse, path in scan.images.items()}
        files.append(CubeFile(scan, images, study.resolve(scan.label), folder / f"{name}.pt"))
    return files


def make_cubes(files: Sequence[CubeFile], grid: NetworkGrid, workers: int = 0) -> None:
    """Make the cubes that are not there yet; a stopped run goes on where it was.

    Args:
        files: Of `cube_files`.
        grid: The network's cube.
        workers: Processes beside this one.

    Raises:
        ValueError: If a scan cannot be used; it is named.
        OSError: If a file cannot be read or written.
    """
    missing = [file for file in files if not file.path.is_file()]
    if not missing:
        return
    # One thread writes whole files: a killed run leaves complete cubes behind.
    made = DataLoader(_Missing(missing, grid), batch_size=None, num_workers=workers)
    for _ in tqdm(made, total=len(missing), desc="cubes", leave=False, disable=None):
        pass


def load_cube(path: Path) -> dict[str, Tensor]:
    """Read one cube.

    Args:
        path: Of `CubeFile`.

    Returns:
        `image` `(4, S, S, S)` float32 z-scores, `tumour` and `brain` `(1, S, S, S)` shares, `available`
        `(4,)`.

    Raises:
        OSError: If it cannot be read.
    """
    kept = torch.load(path, map_location="cpu", weights_only=True)
    shares = {name: kept[name].float()[None] / _SHARE for name in ("tumour", "brain")}
    return {"image": kept["image"].float(), "available": kept["available"], **shares}


class _Missing(Dataset[int]):
    """Making an item writes it."""

    def __init__(self, files: Sequence[CubeFile], grid: NetworkGrid) -> None:
        self.files, self.grid = files, grid

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> int:
        file = self.files[index]
        try:
            cube = cube_of(file.images, file.label, self.grid)
        except ValueError as error:
            msg = f"scan {file.scan.scan_id}: {error}"
            raise ValueError(msg) from error
        tumour = torch.zeros_like(torch.as_tensor(cube.brain)) if cube.tumour is None else cube.tumour
        kept = {
            "image": torch.as_tensor(cube.image).half(),
            "tumour": _byte(tumour),
            "brain": _byte(cube.brain),
            "available": torch.as_tensor(cube.available),
        }
        save_tensors({name: value.contiguous().clone() for name, value in kept.items()}, file.path)
        return index


def _byte(share: Any) -> Tensor:
    return (torch.as_tensor(share) * _SHARE).round().to(torch.uint8)
